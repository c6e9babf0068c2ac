/**
 * Ten conditions of public rules files, each with the same condition written by hand over the same DataView. The
 * number of each is that of its file in the corpus of public rules files; data, names of users and values are ours.
 */
import type { Path } from '../protocol/index.ts'
import type { DataView } from '../rules/index.ts'

export const NOW = 1_760_000_000_000
export const AUTH = {
  uid: 'u1',
  provider: 'password',
  token: { email: 'ada@example.com', email_verified: true, role: 'editor' },
}

export const STORED = {
  coupleMembers: { c1: { u1: true, u2: true } },
  location: { c1: { u1: { lat: 1.5, lng: 2.5 } } },
  admins: { u1: true },
  admin: { config: { theme: 'dark' } },
  adminAccess: { u9: true },
  rooms: { QRST: { seats: { w: 'u3:white', b: 'u1:black' }, moves: 'e2e4' } },
  restaurants: { r1: { name: 'Chez Ada', staffUsers: { u1: true, u2: true } } },
  users: { u1: { username: 'Ada', role: 'reader' }, u2: { role: 'admin' } },
}

export interface Case {
  name: string
  /** The rule as in a rules file, at `pattern`. */
  kind: '.read' | '.write' | '.validate'
  pattern: string
  rule: string
  path: string
  value?: unknown
  /** The same condition by hand. */
  byHand(view: DataView, after: DataView, auth: typeof AUTH | null, path: Path, now: number): boolean
}

export const cases: readonly Case[] = [
  {
    name: 'own node, or a claim (008)',
    kind: '.read',
    pattern: 'cloningHistory/$userId',
    rule: "auth != null && (auth.uid === $userId || auth.token.role === 'admin')",
    path: 'cloningHistory/u1',
    byHand: (_view, _after, auth, path) =>
      auth !== null && (auth.uid === path[1] || auth.token.role === 'admin'),
  },
  {
    name: 'member of the pair (002)',
    kind: '.read',
    pattern: 'location/$coupleId',
    rule: "auth != null && root.child('coupleMembers').child($coupleId).child(auth.uid).exists()",
    path: 'location/c1',
    byHand: (view, _after, auth, path) =>
      auth !== null && view.valueAt(['coupleMembers', path[1]!, auth.uid]) !== null,
  },
  {
    name: 'stored admin, or an address (007)',
    kind: '.read',
    pattern: 'admin/config',
    rule: "auth != null && (root.child('admins').child(auth.uid).val() === true || auth.token.email === 'user1@example.com')",
    path: 'admin/config',
    byHand: (view, _after, auth) =>
      auth !== null &&
      (view.valueAt(['admins', auth.uid]) === true || auth.token.email === 'user1@example.com'),
  },
  {
    name: 'seat taken by the user (020)',
    kind: '.read',
    pattern: 'rooms/$code',
    rule: "auth != null && ((data.child('seats/w').isString() && data.child('seats/w').val().beginsWith(auth.uid + ':')) || (data.child('seats/b').isString() && data.child('seats/b').val().beginsWith(auth.uid + ':')))",
    path: 'rooms/QRST',
    byHand(view, _after, auth, path) {
      if (auth === null) return false
      const white = view.valueAt(['rooms', path[1]!, 'seats', 'w'])
      if (typeof white === 'string' && white.startsWith(`${auth.uid}:`)) return true
      const black = view.valueAt(['rooms', path[1]!, 'seats', 'b'])
      return typeof black === 'string' && black.startsWith(`${auth.uid}:`)
    },
  },
  {
    name: 'a new entry of one’s own (014)',
    kind: '.write',
    pattern: 'leaderboard/$entryId',
    rule: "auth != null && (root.child('adminAccess').child(auth.uid).val() === true || (!data.exists() && newData.child('uid').val() === auth.uid))",
    path: 'leaderboard/e1',
    value: { uid: 'u1', name: 'Ada', score: 12, date: NOW },
    byHand: (view, after, auth, path) =>
      auth !== null &&
      (view.valueAt(['adminAccess', auth.uid]) === true ||
        (view.valueAt(['leaderboard', path[1]!]) === null &&
          after.valueAt(['leaderboard', path[1]!, 'uid']) === auth.uid)),
  },
  {
    name: 'staff, or a stored role (044)',
    kind: '.write',
    pattern: 'restaurants/$restaurantId',
    rule: "data.child('staffUsers').hasChild(auth.uid) || root.child('users/' + auth.uid).child('role').val() === 'admin'",
    path: 'restaurants/r1',
    value: { name: 'Chez Ada', staffUsers: { u1: true } },
    byHand: (view, _after, auth, path) =>
      auth !== null &&
      (view.valueAt(['restaurants', path[1]!, 'staffUsers', auth.uid]) !== null ||
        view.valueAt(['users', auth.uid, 'role']) === 'admin'),
  },
  {
    name: 'a key of a certain form (023)',
    kind: '.write',
    pattern: 'workspaces/$code',
    rule: '$code.length >= 4 && $code.length <= 64 && $code.matches(/^[a-z0-9_-]+$/)',
    path: 'workspaces/team-of-ada_1',
    value: { name: 'Ada' },
    byHand: (_view, _after, _auth, path) =>
      path[1]!.length >= 4 && path[1]!.length <= 64 && /^[a-z0-9_-]+$/.test(path[1]!),
  },
  {
    name: 'required children (014)',
    kind: '.validate',
    pattern: 'leaderboard/$entryId',
    rule: "newData.hasChildren(['name','score','date']) && newData.child('score').isNumber() && newData.child('score').val() > 0 && newData.child('name').isString() && newData.child('name').val().length >= 1 && newData.child('name').val().length <= 24",
    path: 'leaderboard/e1',
    value: { uid: 'u1', name: 'Ada', score: 12, date: NOW },
    byHand(_view, after, _auth, path) {
      const name = after.valueAt(['leaderboard', path[1]!, 'name'])
      const score = after.valueAt(['leaderboard', path[1]!, 'score'])
      return (
        name !== null &&
        score !== null &&
        after.valueAt(['leaderboard', path[1]!, 'date']) !== null &&
        typeof score === 'number' &&
        score > 0 &&
        typeof name === 'string' &&
        name.length >= 1 &&
        name.length <= 24
      )
    },
  },
  {
    name: 'a time not far ahead (016)',
    kind: '.validate',
    pattern: 'activity/$userId/$activityId/created_at',
    rule: 'newData.isNumber() && newData.val() <= now + 3600000',
    path: 'activity/u1/a1/created_at',
    value: NOW,
    byHand(_view, after, _auth, path, now) {
      const at = after.valueAt(['activity', path[1]!, path[2]!, 'created_at'])
      return typeof at === 'number' && at <= now + 3_600_000
    },
  },
  {
    name: 'e-mail by pattern (074)',
    kind: '.validate',
    pattern: 'users/$uid/email',
    rule: 'newData.isString() && newData.val().matches(/^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\\.[A-Za-z]{2,}$/)',
    path: 'users/u1/email',
    value: 'ada.lovelace@example.com',
    byHand(_view, after, _auth, path) {
      const email = after.valueAt(['users', path[1]!, 'email'])
      return typeof email === 'string' && /^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$/.test(email)
    },
  },
]

/** A file of 3,000 rules, each expression with names or numbers of its own, as in the largest public files. */
export function largeFile(): string {
  const rules: Record<string, unknown> = {}
  for (let i = 0; i < 300; i++) {
    rules[`things${i}`] = {
      '.read': `auth != null && root.child('members').child(auth.uid).child('things${i}').val() === true`,
      $id: {
        '.write': `auth != null && (!data.exists() || data.child('owner').val() === auth.uid || root.child('users/' + auth.uid + '/role${i}').val() == 'admin')`,
        '.validate': `newData.hasChildren(['owner', 'title', 'kind${i}']) && newData.child('owner').val() == auth.uid`,
        owner: { '.validate': `newData.isString() && root.child('users${i}').child(newData.val()).exists()` },
        title: {
          '.validate': `newData.isString() && newData.val().length > 0 && newData.val().length <= ${100 + i}`,
        },
        mail: {
          '.validate': `newData.isString() && newData.val().matches(/^[A-Z0-9._%+-]+@[A-Z0-9.-]+\\.[A-Z]{2,${(i % 60) + 2}}$/i)`,
        },
        at: {
          '.validate': `newData.isNumber() && newData.val() <= now && newData.val() > now - ${60_000 + i}`,
        },
        [`kind${i}`]: {
          '.validate': `newData.val() == 'a${i}' || newData.val() == 'b${i}' || newData.val() == 'c'`,
        },
        count: {
          '.validate': `newData.isNumber() && newData.val() == (data.exists() ? data.val() : 0) + ${1 + i}`,
        },
        $other: { '.validate': false },
      },
    }
  }
  return JSON.stringify({ rules }, null, 2)
}
