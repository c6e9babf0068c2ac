/**
 * Long-poll route: HTTP on one side, long polls on the other. `/.lp` starts a connection, brings and takes messages,
 * and hears of its end.
 */
import { clip } from '../../protocol/index.ts'
import { randomId } from '../random-id.ts'
import { type Answer, LongPoll, type LongPollTopics } from '../sessions/long-poll.ts'
import { closeScript, farewellPage, startScript } from '../sessions/long-poll-wire.ts'
import type { FirebaseService } from './firebase-route.ts'
import {
  type Body,
  type HttpReply,
  type HttpRequest,
  type HttpRoute,
  isReferrerAllowed,
  plain,
} from './http.ts'
import { errorReply } from './http-error.ts'
import { type Answers, addressOf } from './rest-answers.ts'

export interface LongPollParts {
  service: FirebaseService
  topics: LongPollTopics
  /** Large answers count as those of REST do. */
  answers: Answers
  limits: { frameBytesMax: number; slowConsumerSoftBytes: number }
  allowedOrigins: readonly string[]
}

const PATH = '/.lp'

export function isLongPoll(path: string): boolean {
  return path === PATH
}

export function longPollRoute(parts: LongPollParts): HttpRoute {
  const polls = new Map<string, LongPoll>()
  return (request) => {
    if (!isLongPoll(request.path)) return null
    if (request.method !== 'GET') return Promise.resolve(plain('405 Method Not Allowed', 'GET only\n'))
    if (!isReferrerAllowed(request, parts.allowedOrigins)) {
      return Promise.resolve(plain('403 Forbidden', 'pages of this origin may not use this server\n'))
    }
    if (request.query.get('start') === 't') return start(parts, polls, request)
    return goOn(parts, polls, request)
  }
}

async function start(
  { service, topics, answers, limits }: LongPollParts,
  polls: Map<string, LongPoll>,
  request: HttpRequest,
): Promise<HttpReply> {
  const callback = request.query.get('cb') ?? ''
  if (!/^\w{0,32}$/.test(callback)) return plain('400 Bad Request', `\`cb\` is \`${clip(callback)}\`\n`)
  const upgrade = {
    query: request.query,
    host: request.header('host'),
    origin: '',
    remoteAddress: '',
  }
  try {
    answers.admitRoom(addressOf(request))
  } catch (error) {
    return errorReply(error)
  }
  const refusal = service.refuse()
  if (refusal !== null) return plain(refusal, `${refusal.slice(4)}\n`)
  service.waiting.enter()
  let hasLeft = false
  request.whenGone(() => {
    hasLeft = true
  })
  try {
    await service.prepare(upgrade)
  } finally {
    service.waiting.leave()
  }
  // Nobody would poll for the session, nor end it before its silence does.
  if (hasLeft) return script(closeScript())
  const id = randomId()
  const poll = new LongPoll({
    password: randomId(),
    topics,
    softBytes: limits.slowConsumerSoftBytes,
    messageUnitsMax: limits.frameBytesMax,
    ended: () => polls.delete(id),
  })
  polls.set(id, poll)
  const session = service.connect(upgrade, poll.sink, poll)
  poll.serve(session)
  session.open()
  return script(startScript(callback, id, poll.password, poll.start()))
}

async function goOn(
  { answers }: LongPollParts,
  polls: Map<string, LongPoll>,
  request: HttpRequest,
): Promise<HttpReply> {
  const { query } = request
  const id = query.get('id') ?? ''
  const password = query.get('pw') ?? ''
  const poll = polls.get(id)
  // A page that finds its connection gone makes a new one.
  if (poll === undefined || poll.password !== password) return script(closeScript())
  if (query.get('disconn') === 't') {
    poll.end()
    return script('')
  }
  if (query.get('dframe') === 't') {
    return {
      ...script(farewellPage(`${PATH}?disconn=t&id=${id}&pw=${password}`)),
      headers: [['Content-Type', 'text/html; charset=utf-8'], ...NEVER_STORED],
    }
  }
  return new Promise((resolve) => {
    const answer: Answer = (text, taken) => {
      const body = answers.carryEcho(addressOf(request), null, text, request)
      resolve({ ...script(text), body: whenTaken(body, taken) })
    }
    request.whenGone(() => poll.gone(answer))
    poll.poll(query, answer)
  })
}

/** A short body is taken at once. */
function whenTaken(body: Body, taken: () => void = () => {}): Body {
  if (typeof body === 'string' || body === null || body instanceof Uint8Array) {
    taken()
    return body
  }
  let isTaken = false
  const end = (): void => {
    if (!isTaken) taken()
    isTaken = true
  }
  return {
    next() {
      const piece = body.next()
      if (piece.done === true) end()
      return piece
    },
    return() {
      end()
      return body.return!()
    },
  }
}

const NEVER_STORED = [
  ['Cache-Control', 'no-store'],
  ['X-Content-Type-Options', 'nosniff'],
] as const

function script(body: string): HttpReply {
  return {
    status: '200 OK',
    headers: [['Content-Type', 'application/javascript; charset=utf-8'], ...NEVER_STORED],
    body,
  }
}
