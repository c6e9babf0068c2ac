/**
 * A chat in the terminal: `node dist/examples/chat/chat.js [room] [name]`. Shows what was said, what is being said and
 * who is here, and goes on by itself when the server was away.
 */
import { createInterface } from 'node:readline'
import {
  getDatabase,
  onChildAdded,
  onChildRemoved,
  onValue,
  presence,
  push,
  ref,
  serverTimestamp,
  terminate,
} from 'hearthdb/client'

interface Message {
  name: string
  text: string
  /** Unix milliseconds, the server's clock. */
  at: number
}

const [room = 'lobby', name = `guest ${process.pid}`] = process.argv.slice(2)
const { db, messages, online } = placesOf(process.env['HEARTH_URL'] ?? 'http://127.0.0.1:9000')

function placesOf(url: string) {
  try {
    const db = getDatabase(url)
    return {
      db,
      messages: ref<Record<string, Message>>(db, `rooms/${room}/messages`),
      online: ref<Record<string, string>>(db, `rooms/${room}/online`),
    }
  } catch (error) {
    // An address or a room's name that cannot be one.
    console.error(`chat: ${(error as Error).message}`)
    process.exit(2)
  }
}

const terminal = createInterface({ input: process.stdin, output: process.stdout, prompt: '> ' })
const unsent = new Set<Promise<unknown>>()
let isOver = false

function show(line: string): void {
  if (isOver) return
  // Puts the line above what is being typed.
  if (process.stdout.isTTY) process.stdout.write('\r\x1b[K')
  console.log(line)
  if (process.stdout.isTTY) terminal.prompt(true)
}

function failed(error: Error): void {
  show(`-- ${error.message}`)
}

onValue(ref<boolean>(db, '.info/connected'), (connected) => {
  if (connected.val() !== true) {
    show('-- connecting ...')
    return
  }
  show(`-- connected; this is room ${room}, you are ${name}`)
})
// However this program ends, the server takes it off the list.
presence(online, name, { onError: failed })
onChildAdded(
  messages,
  (snapshot) => {
    const message = snapshot.val()!
    show(`${new Date(message.at).toLocaleTimeString()} ${message.name}: ${message.text}`)
  },
  failed,
)
onChildAdded(
  online,
  (snapshot) => {
    if (snapshot.val() !== name) show(`-- ${snapshot.val()} is here`)
  },
  failed,
)
onChildRemoved(online, (snapshot) => {
  if (snapshot.val() !== name) show(`-- ${snapshot.val()} left`)
})

terminal.on('line', (text) => {
  if (text.trim() === '') return
  const sent = push(messages, { name, text, at: serverTimestamp() }).then(() => {}, failed)
  unsent.add(sent)
  sent.then(() => unsent.delete(sent))
})
terminal.on('close', async () => {
  await Promise.all(unsent)
  isOver = true
  terminate(db)
})
