/**
 * Text search: where a text stands in another, in time that grows with their lengths and not with the product of
 * the two. The search of the engine is faster on nearly everything, but a client who picks both texts can make it
 * compare each character of one with each of the other: two texts of a megabyte would hold the server for hours.
 */

/** Comparisons of characters that are nothing to worry about: about a millisecond. */
const PRODUCT_MAX = 1_000_000
/** A part this short bounds the product well enough by itself. */
const PART_LENGTH_MAX = 16

/** Whether the engine's own search may be used. */
export function isQuickSearch(text: string, part: string): boolean {
  return part.length <= PART_LENGTH_MAX || text.length * part.length <= PRODUCT_MAX
}

/** Offsets at which `part`, which is not empty, stands in `text`, left to right, none within another. */
export function* occurrences(text: string, part: string): Generator<number, undefined> {
  if (part.length > text.length) return
  // Knuth, Morris and Pratt: how much of the part's start is also the end of what matched, for each length matched.
  const borders = new Uint32Array(part.length + 1)
  for (let i = 1, border = 0; i < part.length; i++) {
    while (border > 0 && part.charCodeAt(i) !== part.charCodeAt(border)) border = borders[border]!
    if (part.charCodeAt(i) === part.charCodeAt(border)) border += 1
    borders[i + 1] = border
  }
  let matched = 0
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    while (matched > 0 && unit !== part.charCodeAt(matched)) matched = borders[matched]!
    if (unit === part.charCodeAt(matched)) matched += 1
    if (matched === part.length) {
      yield i + 1 - matched
      matched = 0
    }
  }
}

/** The pieces of a text between the places where a part stands, in linear time. */
export function splitAt(text: string, part: string): string[] {
  if (isQuickSearch(text, part)) return text.split(part)
  const pieces: string[] = []
  let end = 0
  for (const at of occurrences(text, part)) {
    pieces.push(text.slice(end, at))
    end = at + part.length
  }
  pieces.push(text.slice(end))
  return pieces
}
