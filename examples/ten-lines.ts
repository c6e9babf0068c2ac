import { getDatabase, onChildAdded, push, ref, serverTimestamp } from 'hearthdb/client'

const db = getDatabase('http://127.0.0.1:9000')
const messages = ref(db, 'rooms/lobby/messages')

onChildAdded(messages, (message) => {
  const { name, text } = message.val()
  console.log(`${name}: ${text}`)
})
await push(messages, { name: 'Ada', text: 'Hello from Hearth', at: serverTimestamp() })
