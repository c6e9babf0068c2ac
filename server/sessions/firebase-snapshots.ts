/**
 * Values of queries as the frames of a push, made once for those who listen to the same query within moments. Clients that
 * run the same app have the same tags, so one tag is kept for each query.
 */
import type { Value } from '../../protocol/index.ts'
import type { LiveQuery } from '../listeners/listener-tree.ts'
import { encodedFrames } from './firebase-framing.ts'
import { wholeValue } from './firebase-listen.ts'
import { pushTag } from './firebase-wire.ts'
import { SnapshotCache } from './snapshot-cache.ts'

interface TaggedFrames {
  tag: number | null
  frames: readonly Buffer[]
}

export class FirebaseSnapshots extends SnapshotCache<TaggedFrames> {
  constructor() {
    super('firebase snapshots')
  }

  /** The push of a query's value to a client that listens under a tag; undefined unless it is at hand. */
  framesOf(live: LiveQuery, tag: number | null): readonly Buffer[] | undefined {
    const known = this.get(live)
    return known?.tag === pushTag(live, tag) ? known.frames : undefined
  }

  /** Makes that push, and keeps it for others. */
  made(live: LiveQuery, tag: number | null, value: Value): readonly Buffer[] {
    const frames = encodedFrames(wholeValue(live, value, tag))
    const bytes = frames.reduce((sum, { length }) => sum + length, 0)
    // A client that holds nothing is not told that there is nothing.
    if (value !== null && this.mayKeep(live, bytes))
      this.keep(live, { tag: pushTag(live, tag), frames }, bytes)
    return frames
  }
}
