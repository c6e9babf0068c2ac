/**
 * Plain model: what Firebase's data is and what its queries select, written anew from its words and without any code of
 * the server's, so that both would have to be wrong alike.
 */
export type Primitive = string | number | boolean
export type Rank = string | number | null
// biome-ignore lint/suspicious/noExplicitAny: JSON in Firebase's export form.
export type Json = any

export interface Node {
  readonly leaf?: Primitive
  readonly children?: Readonly<Record<string, Node>>
  readonly rank: Rank
}

export type State = Node | null

export interface PlainQuery {
  by: { key: true } | { value: true } | { priority: true } | { child: string }
  start?: { value: Json; key?: string; isAfter: boolean }
  end?: { value: Json; key?: string; isBefore: boolean }
  limit?: { count: number; isLast: boolean }
}

export function nodeOf(json: Json): State {
  if (json === null || json === undefined) return null
  if (typeof json !== 'object') return { leaf: json, rank: null }
  const rank: Rank = json['.priority'] ?? null
  if (json['.value'] !== undefined) return json['.value'] === null ? null : { leaf: json['.value'], rank }
  const children: Record<string, Node> = {}
  for (const [key, value] of Object.entries(json)) {
    const child = key.startsWith('.') ? null : nodeOf(value)
    if (child !== null) children[key] = child
  }
  return Object.keys(children).length === 0 ? null : { children, rank }
}

/** With keys in a fixed order, so that equal nodes are equal texts. */
export function jsonOf(node: State): Json {
  if (node === null) return null
  if (node.children === undefined) {
    return node.rank === null ? node.leaf : { '.value': node.leaf, '.priority': node.rank }
  }
  const json: Json = {}
  for (const key of Object.keys(node.children).sort()) json[key] = jsonOf(node.children[key]!)
  if (node.rank !== null) json['.priority'] = node.rank
  return json
}

export function nodeAt(node: State, path: readonly string[]): State {
  for (const key of path) node = node?.children?.[key] ?? null
  return node
}

export function withNode(node: State, path: readonly string[], value: State): State {
  const [key, ...rest] = path
  if (key === undefined) return value
  const child = withNode(node?.children?.[key] ?? null, rest, value)
  // There is nothing below a leaf to delete.
  if (child === null && node?.children === undefined) return node
  const children = { ...node?.children }
  if (child === null) delete children[key]
  else children[key] = child
  return Object.keys(children).length === 0 ? null : { children, rank: node?.rank ?? null }
}

export function withRank(node: State, path: readonly string[], rank: Rank): State {
  const at = nodeAt(node, path)
  return at === null ? node : withNode(node, path, { ...at, rank })
}

/** The children that a query selects, in its order. */
export function selected(node: State, { by, start, end, limit }: PlainQuery): [key: string, child: Node][] {
  const ordered = Object.entries(node?.children ?? {})
    .map(([key, child]) => ({ key, child, place: placeOf(by, key, child) }))
    .sort((a, b) => comparePlaces(a.place, b.place) || compareKeys(a.key, b.key))
    .filter(({ key, place }) => {
      if (start !== undefined) {
        const order =
          comparePlaces(place, boundOf(by, start.value)) ||
          keyOrder(key, 'key' in by ? start.value : start.key)
        if (order < 0 || (order === 0 && start.isAfter)) return false
      }
      if (end !== undefined) {
        const order =
          comparePlaces(place, boundOf(by, end.value)) || keyOrder(key, 'key' in by ? end.value : end.key)
        if (order > 0 || (order === 0 && end.isBefore)) return false
      }
      return true
    })
  const shown =
    limit === undefined ? ordered : limit.isLast ? ordered.slice(-limit.count) : ordered.slice(0, limit.count)
  return shown.map(({ key, child }) => [key, child])
}

/** Kinds in their order, and the value within the kind. */
type Place = readonly [kind: number, value: Primitive]

function placeOf(by: PlainQuery['by'], key: string, child: Node): Place {
  if ('key' in by) return keyPlace(key)
  if ('priority' in by) return boundOf(by, child.rank)
  const at = 'value' in by ? child : nodeAt(child, by.child.split('/'))
  return at?.children === undefined ? boundOf(by, at?.leaf ?? null) : [5, 0]
}

function boundOf(by: PlainQuery['by'], value: Json): Place {
  if ('key' in by) return keyPlace(value)
  if (value === null) return [0, 0]
  if (typeof value === 'boolean') return [value ? 2 : 1, 0]
  return typeof value === 'number' ? [3, value] : [4, value]
}

function comparePlaces(a: Place, b: Place): number {
  if (a[0] !== b[0]) return a[0] - b[0]
  return a[1] < b[1] ? -1 : a[1] > b[1] ? 1 : 0
}

/** Order by key is the order of ties. */
function keyPlace(key: string): Place {
  return [isInteger(key) ? 0 : 1, isInteger(key) ? Number(key) + 0 : key]
}

function keyOrder(key: string, bound: string | undefined): number {
  return bound === undefined ? 0 : compareKeys(key, bound)
}

export function compareKeys(a: string, b: string): number {
  return comparePlaces(keyPlace(a), keyPlace(b)) || (isInteger(a) ? a.length - b.length : 0)
}

function isInteger(key: string): boolean {
  return /^-?0*\d{1,10}$/.test(key) && Number(key) >= -2147483648 && Number(key) <= 2147483647
}
