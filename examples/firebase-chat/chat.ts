/**
 * Chat: a web page on `firebase/database` alone. Nothing here knows of Hearth; `firebase-config.ts` has the address.
 *
 *   rooms/<room>/messages/<push id>   {name, text, at, uid?}
 *               /likes/<push id>      how many
 *               /online/<page>        {name, since, isTyping?}, taken away by the server when the page is gone
 */
import { initializeApp } from 'firebase/app'
import {
  connectDatabaseEmulator,
  type Database,
  type DataSnapshot,
  getDatabase,
  limitToLast,
  onDisconnect,
  onValue,
  orderByChild,
  push,
  type Query,
  query,
  ref,
  remove,
  runTransaction,
  serverTimestamp,
  set,
} from 'firebase/database'
import { firebaseConfig } from './firebase-config.ts'

interface Message {
  name: string
  text: string
  /** Unix milliseconds by the server's clock; the page's own guess until the server has answered. */
  at: number
  /** Of an author who is signed in. */
  uid?: string
}

interface Person {
  name: string
  since: number
  isTyping?: true
}

/** How many messages the page shows. */
const SHOWN = 50
/** Who pauses for so long is not typing any more. */
const TYPING_MS = 3000

const parameters = new URLSearchParams(location.search)
const room = parameters.get('room') ?? 'lobby'
const name = parameters.get('name') ?? 'Guest'
const uid = parameters.get('uid')

const db = open()
const messages = ref(db, `rooms/${room}/messages`)
const likes = ref(db, `rooms/${room}/likes`)
const me = push(ref(db, `rooms/${room}/online`))

function open(): Database {
  const db = getDatabase(initializeApp(firebaseConfig))
  if (uid !== null) {
    // A stand-in for Firebase Authentication: an unsigned token, which only `hearth serve --dev` takes, as only the
    // emulator does. In production sign in with `firebase/auth`, and the SDK hands its token to the server.
    const { hostname, port } = new URL(firebaseConfig.databaseURL!)
    connectDatabaseEmulator(db, hostname, Number(port), { mockUserToken: { user_id: uid } })
  }
  return db
}

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T
}

/** The server decides. What it refuses is taken back by the SDK, and said here until the user's next act. */
async function attempt(write: Promise<unknown>): Promise<boolean> {
  try {
    await write
    return true
  } catch (error) {
    tellProblem('The server refused it, so it was taken back', error as Error)
    return false
  }
}

/** A listen that was refused does not come back by itself, so this stays, whatever else is refused. */
let unreadable = ''

function tellProblem(what: string, { message }: Error): void {
  element('problem').textContent = `${unreadable} ${what} (${message})`.trim()
}

/** Listens; a listen that rules refuse, at once or later, is said, too. */
function follow(source: Query, heard: (snapshot: DataSnapshot) => void): void {
  onValue(source, heard, ({ message }) => {
    unreadable = `The server does not let this page read the room (${message}).`
    element('problem').textContent = unreadable
  })
}

/** Whether the server has this page's presence: typing is behind it, and would be refused without it. */
let isHere = false

function followPresence(): void {
  onValue(ref(db, '.info/connected'), async (snapshot) => {
    const isOnline = snapshot.val() === true
    const status = element('status')
    status.textContent = isOnline ? 'online' : 'offline'
    status.classList.toggle('online', isOnline)
    isHere = false
    if (!isOnline) return
    // First the server learns what to do when this page is gone, then that it is here: never the other way round.
    if (!(await attempt(onDisconnect(me).remove()))) return
    isHere = await attempt(set(me, { name, since: serverTimestamp() }))
  })
  follow(ref(db, `rooms/${room}/online`), (snapshot) => {
    element('people').replaceChildren(...childrenOf<Person>(snapshot).map(([, person]) => personItem(person)))
  })
}

/** Keys of messages that the server has not answered yet: offline, they wait. */
const sending = new Set<string>()
let counts: Record<string, number> = {}
let shown: [string, Message][] = []

function followMessages(): void {
  follow(query(messages, orderByChild('at'), limitToLast(SHOWN)), (snapshot) => {
    shown = childrenOf<Message>(snapshot)
    showMessages()
  })
  follow(likes, (snapshot) => {
    counts = (snapshot.val() as Record<string, number> | null) ?? {}
    showMessages()
  })
}

function showMessages(): void {
  const list = element('messages')
  // Who has scrolled up to read is left there.
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40
  list.replaceChildren(...shown.map(([key, message]) => messageItem(key, message, counts[key] ?? 0)))
  if (isAtEnd) list.scrollTop = list.scrollHeight
}

function childrenOf<T>(snapshot: DataSnapshot): [key: string, value: T][] {
  const children: [string, T][] = []
  // Not `Object.entries(snapshot.val())`: only the snapshot knows the order of its query.
  snapshot.forEach((child) => void children.push([child.key, child.val() as T]))
  return children
}

function personItem({ name, isTyping }: Person): HTMLElement {
  const item = document.createElement('li')
  item.textContent = name
  item.classList.toggle('typing', isTyping === true)
  return item
}

function messageItem(key: string, message: Message, likeCount: number): HTMLElement {
  const item = document.createElement('li')
  item.dataset['key'] = key
  item.classList.toggle('sending', sending.has(key))
  const author = document.createElement('b')
  author.textContent = message.name
  const text = document.createElement('span')
  text.textContent = message.text
  item.append(author, text)
  item.append(
    button(`♥ ${likeCount}`, 'like', () => runTransaction(ref(db, `rooms/${room}/likes/${key}`), plusOne)),
    // On every message, one's own or not: that rules refuse it is shown, not hidden.
    button('take back', 'take-back', () => remove(ref(db, `rooms/${room}/messages/${key}`))),
  )
  return item
}

function plusOne(count: number | null): number {
  return (count ?? 0) + 1
}

function button(label: string, className: string, act: () => Promise<unknown>): HTMLElement {
  const made = document.createElement('button')
  made.textContent = label
  made.className = className
  made.addEventListener('click', () => {
    element('problem').textContent = unreadable
    void attempt(act())
  })
  return made
}

async function send(message: object): Promise<boolean> {
  const { key } = push(messages)
  // Before it is written, since that is when the page hears of it.
  sending.add(key!)
  const isSent = await attempt(set(ref(db, `rooms/${room}/messages/${key}`), message))
  sending.delete(key!)
  showMessages()
  return isSent
}

function followForm(): void {
  const text = element<HTMLInputElement>('text')
  const isTyping = ref(db, `rooms/${room}/online/${me.key}/isTyping`)
  let pause: number | null = null
  const stopTyping = (): void => {
    if (pause === null) return
    clearTimeout(pause)
    pause = null
    void attempt(remove(isTyping))
  }
  text.addEventListener('input', () => {
    // Offline nobody sees it, and it would be sent before the presence is there again.
    if (!isHere) return
    if (pause === null) void attempt(set(isTyping, true))
    else clearTimeout(pause)
    pause = window.setTimeout(stopTyping, TYPING_MS)
  })
  element('say').addEventListener('submit', (event) => {
    event.preventDefault()
    element('problem').textContent = unreadable
    stopTyping()
    const message = { name, text: text.value, at: serverTimestamp(), ...(uid === null ? {} : { uid }) }
    text.value = ''
    void send(message).then((isSent) => {
      // Not lost: to be said in other words.
      if (!isSent && text.value === '') text.value = message.text
    })
  })
}

element('room').textContent = room
followPresence()
followMessages()
followForm()
