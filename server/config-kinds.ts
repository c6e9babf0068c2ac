/**
 * Kinds of values an option may have: how each is read, what it refuses, how it is shown. A value comes as text
 * (flag, variable) or as JSON (config file, code); each kind reads both.
 */
import { clip } from '../protocol/index.ts'
import { nearest } from '../rules/did-you-mean.ts'

export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB
export const SECOND = 1000
export const MINUTE = 60 * SECOND
const DAY = 24 * 60 * MINUTE

/** Below 32 bytes an HS256 key is weaker than its hash; RFC 7518 §3.2 forbids it. */
const SECRET_BYTES_MIN = 32

/** A text that shows itself to nobody by accident: not in logs, not in JSON, not in an error. */
export class Secret {
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  reveal(): string {
    return this.#text
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[secret]'
  }
}

export class Option<T> {
  readonly kind: Kind<unknown>
  readonly fallback: T
  readonly help: string
  /** `secret`: variable or named file. `file`: named file; the value is its text. */
  readonly channel: 'plain' | 'secret' | 'file'

  constructor(kind: Kind<unknown>, fallback: T, help: string, channel: 'plain' | 'secret' | 'file') {
    this.kind = kind
    this.fallback = fallback
    this.help = help
    this.channel = channel
  }
}

export interface Kind<T> {
  readonly placeholder: string
  /** @throws {Refusal} */
  parse(raw: unknown): T
  show?(value: T): string
}

/** What is wrong with one value; it is reported with the value's name and place. */
export class Refusal extends Error {}

export function option<T, const F extends T | null>(
  kind: () => Kind<T>,
  fallback: F,
  help: string,
): Option<F extends null ? T | null : T> {
  return new Option(kind() as Kind<unknown>, fallback as F extends null ? T | null : T, help, 'plain')
}

export function secret(help: string): Option<Secret | null> {
  return new Option<Secret | null>(secretKind, null, help, 'secret')
}

export function fileText(help: string): Option<string | null> {
  return new Option<string | null>(text() as Kind<unknown>, null, help, 'file')
}

/** What `isDatabaseName` takes, in words. */
export const DATABASE_NAME_RULE = 'names have up to 63 letters, digits, - and _, a letter or digit first'

const DATABASE_NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/

/** Whether a name may name a database. Names are folder names, so nothing that could leave the folder. */
export function isDatabaseName(name: string): boolean {
  return DATABASE_NAME.test(name)
}

export function text(): Kind<string> {
  return {
    placeholder: 'text',
    parse(raw) {
      if (typeof raw !== 'string' || raw.trim() === '') throw new Refusal(`${quote(raw)} is not a text`)
      return raw
    },
  }
}

export function path(): Kind<string> {
  return { ...text(), placeholder: 'path' }
}

const secretKind: Kind<unknown> = {
  placeholder: 'text',
  // Whatever is wrong with a secret is said without quoting it.
  parse(raw) {
    if (typeof raw !== 'string') throw new Refusal('a secret is a text')
    const length = Buffer.byteLength(raw)
    if (length < SECRET_BYTES_MIN) {
      throw new Refusal(
        `a secret has at least ${SECRET_BYTES_MIN} bytes, this one ${length}; \`openssl rand -hex 32\` makes one`,
      )
    }
    return new Secret(raw)
  },
}

export function bool(): Kind<boolean> {
  return {
    placeholder: 'true|false',
    parse(raw) {
      if (raw === true || raw === 'true' || raw === '1') return true
      if (raw === false || raw === 'false' || raw === '0') return false
      throw new Refusal(`${quote(raw)} is neither true nor false`)
    },
  }
}

export function oneOf<const T extends string>(...choices: readonly T[]): () => Kind<T> {
  return () => ({
    placeholder: choices.length > 6 ? choices[0]! : choices.join('|'),
    parse(raw) {
      const choice = choices.find((known) => known === raw)
      if (choice !== undefined) return choice
      const near = typeof raw === 'string' ? nearest(raw, choices) : null
      const advice = near === null ? '' : `; did you mean \`${near}\`?`
      throw new Refusal(`${quote(raw)} is not one of ${choices.join(', ')}${advice}`)
    },
  })
}

export function whole(min: number, max: number): () => Kind<number> {
  return () => ({
    placeholder: 'number',
    parse: (raw) => measure(raw, {}, min, max, `a whole number from ${min} to ${max}`),
  })
}

const BYTE_UNITS: Record<string, number> = { TiB: 1024 * GiB, GiB, MiB, KiB }
const TIME_UNITS: Record<string, number> = { d: DAY, h: 60 * MINUTE, m: MINUTE, s: SECOND, ms: 1 }

export function bytes(min: number, max: number): () => Kind<number> {
  const range = `a size from ${showIn(BYTE_UNITS, min)} to ${showIn(BYTE_UNITS, max)}, in bytes or with KiB, MiB, GiB or TiB as in 1.5GiB`
  return () => ({
    placeholder: 'bytes',
    parse: (raw) => measure(raw, BYTE_UNITS, min, max, range),
    show: (value) => showIn(BYTE_UNITS, value),
  })
}

export function duration(min: number, max: number): () => Kind<number> {
  const range = `a time from ${showIn(TIME_UNITS, min)} to ${showIn(TIME_UNITS, max)}, in milliseconds or with ms, s, m, h or d as in 1.5s`
  return () => ({
    placeholder: 'ms',
    parse: (raw) => measure(raw, TIME_UNITS, min, max, range),
    show: (value) => showIn(TIME_UNITS, value),
  })
}

/** The largest unit that divides a number, as people would write it. */
function showIn(units: Record<string, number>, value: number): string {
  for (const [unit, size] of Object.entries(units))
    if (value >= size && value % size === 0) return `${value / size}${unit}`
  return String(value)
}

function measure(
  raw: unknown,
  units: Record<string, number>,
  min: number,
  max: number,
  range: string,
): number {
  let value = Number.NaN
  if (typeof raw === 'number') value = raw
  else if (typeof raw === 'string') {
    const [, number, name] = /^(\d{1,15}(?:\.\d{1,9})?)([A-Za-z]*)$/.exec(raw) ?? []
    const unit = name === undefined || name === '' ? undefined : units[name]
    if (unit !== undefined) value = Math.round(Number(number) * unit)
    else if (name === '') value = Number(number)
  }
  if (!Number.isSafeInteger(value) || value < min || value > max)
    throw new Refusal(`${quote(raw)} is not ${range}`)
  return value
}

/** A span of time such as `90s`, `15m`, `1h`, `7d`, or milliseconds. For commands that take one. @throws {Error} */
export function parseDuration(raw: string): number {
  return measure(raw, TIME_UNITS, 1, 3650 * DAY, 'a time such as 90s, 15m, 1h or 7d')
}

export function list<T>(item: () => Kind<T>): () => Kind<readonly T[]> {
  return () => ({
    placeholder: 'a,b',
    parse(raw) {
      const items = typeof raw === 'string' ? raw.split(',').map((part) => part.trim()) : raw
      if (!Array.isArray(items)) throw new Refusal(`${quote(raw)} is not a list`)
      if (items.length === 0) throw new Refusal('the list is empty')
      const kind = item()
      return Object.freeze([...new Set(items.map((part) => kind.parse(part)))])
    },
    show: (value) => value.join(','),
  })
}

export function databaseName(): Kind<string> {
  return {
    placeholder: 'name',
    parse(raw) {
      if (typeof raw === 'string' && isDatabaseName(raw)) return raw
      throw new Refusal(`${quote(raw)} cannot name a database; ${DATABASE_NAME_RULE}`)
    },
  }
}

export function origin(): Kind<string> {
  return {
    placeholder: 'origin',
    parse(raw) {
      if (raw === '*') return raw
      // Browsers send an origin in exactly the form URL gives it, so that it can be compared as text.
      if (typeof raw === 'string' && URL.canParse(raw) && new URL(raw).origin === raw) return raw
      throw new Refusal(`${quote(raw)} is not an origin such as https://app.example, nor *`)
    },
  }
}

export function keySetUrl(): Kind<string> {
  return {
    placeholder: 'url',
    parse(raw) {
      const url = typeof raw === 'string' && URL.canParse(raw) ? new URL(raw) : null
      if (url === null) throw new Refusal(`${quote(raw)} is not a URL`)
      if (url.username !== '' || url.password !== '')
        throw new Refusal('a URL with a password is not accepted')
      const isLocal = ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)
      if (url.protocol === 'https:' || (url.protocol === 'http:' && isLocal)) return url.href
      throw new Refusal(`${quote(raw)} is not https; whoever can change the answer can sign any token`)
    },
  }
}

export function quote(raw: unknown): string {
  return `\`${clip(typeof raw === 'string' ? raw : (JSON.stringify(raw) ?? String(raw)))}\``
}
