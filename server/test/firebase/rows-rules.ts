/** Rules: every action is refused where they say so, and rights that are lost end what was granted. */
import { expect } from 'vitest'
import { listen, type Row } from './table.ts'

const denied = /permission.denied|no permission/i

const OWN = {
  users: { $uid: { '.read': 'auth.uid === $uid', '.write': 'auth.uid === $uid' } },
  open: { '.read': true, '.write': true },
}

export const ruleRows: readonly Row[] = [
  {
    name: 'a user reads and writes what is theirs',
    rules: OWN,
    async run({ open }) {
      const ann = await open({ uid: 'ann' })

      await ann.set('users/ann/name', 'Ann')
      await ann.update('users/ann', { age: 30 })

      expect((await ann.get('users/ann')).val()).toEqual({ name: 'Ann', age: 30 })
    },
  },
  {
    name: 'each way to write what is another’s is refused and changes nothing',
    rules: OWN,
    async run({ open }) {
      const [ann, bob] = [await open({ uid: 'ann' }), await open({ uid: 'bob' })]
      await ann.set('users/ann', { name: 'Ann' })

      await expect(bob.set('users/ann/name', 'x')).rejects.toThrow(denied)
      await expect(bob.update('users/ann', { name: 'x' })).rejects.toThrow(denied)
      await expect(bob.remove('users/ann')).rejects.toThrow(denied)
      await expect(bob.push('users/ann/list', 'x')).rejects.toThrow(denied)
      await expect(bob.setWithPriority('users/ann/name', 'x', 1)).rejects.toThrow(denied)
      await expect(bob.setPriority('users/ann', 1)).rejects.toThrow(denied)
      await expect(bob.onDisconnect('users/ann/name').set('x')).rejects.toThrow(denied)
      await expect(bob.onDisconnect('users/ann').update({ name: 'x' })).rejects.toThrow(denied)
      await expect(bob.onDisconnect('users/ann').remove()).rejects.toThrow(denied)

      expect((await ann.get('users/ann')).exportVal()).toEqual({ name: 'Ann' })
    },
  },
  {
    name: 'each way to read what is another’s is refused',
    rules: OWN,
    async run({ open }) {
      const bob = await open({ uid: 'bob' })

      await expect(bob.get('users/ann')).rejects.toThrow(denied)
      const heard = await listen(bob, 'users/ann')

      expect(heard.canceled?.message).toMatch(denied)
      expect(heard.values).toEqual([])
    },
  },
  {
    name: 'who is signed in as nobody is refused where a user is wanted',
    rules: { '.read': 'auth !== null', '.write': 'auth !== null' },
    async run({ open }) {
      const nobody = await open()

      await expect(nobody.get('a')).rejects.toThrow(denied)
      await expect(nobody.set('a', 1)).rejects.toThrow(denied)
    },
  },
  {
    name: 'an update is refused as a whole if one of its paths is',
    rules: OWN,
    async run({ open }) {
      const ann = await open({ uid: 'ann' })

      await expect(ann.update('', { 'open/a': 1, 'users/bob/a': 1 })).rejects.toThrow(denied)

      expect((await ann.get('open')).exists()).toBe(false)
    },
  },
  {
    name: 'a write that was refused is undone for who wrote and listens',
    rules: { '.read': true, a: { '.validate': 'newData.isNumber()', '.write': true } },
    async run({ open }) {
      const client = await open()
      await client.set('a', 1)
      const heard = await listen(client, 'a')

      await expect(client.set('a', 'text')).rejects.toThrow(denied)
      await heard.until(({ last }) => last === 1)

      expect(heard.values).toEqual([1, 'text', 1])
    },
  },
  {
    name: 'claims of the token are what rules see',
    rules: { '.read': "auth.token.role === 'editor'", '.write': "auth.token.role === 'editor'" },
    async run({ open }) {
      const editor = await open({ uid: 'ann', claims: { role: 'editor' } })
      const reader = await open({ uid: 'bob', claims: { role: 'reader' } })

      await editor.set('a', 1)

      await expect(reader.get('a')).rejects.toThrow(denied)
    },
  },
  {
    name: 'an admin is past all rules',
    rules: { '.read': false, '.write': false },
    async run({ open }) {
      const admin = await open({ isAdmin: true })

      await admin.set('a', 1)

      expect((await admin.get('a')).val()).toBe(1)
    },
  },
  {
    name: 'who loses a right because data changed hears a cancel, and nothing of what came after',
    rules: {
      members: { '.write': true },
      room: { '.read': "root.child('members').child(auth.uid).exists()", '.write': true },
    },
    async run({ open }) {
      const [writer, ann] = [await open({ uid: 'bob' }), await open({ uid: 'ann' })]
      await writer.set('members/ann', true)
      await writer.set('room', 'before')
      const heard = await listen(ann, 'room')

      await writer.update('', { 'members/ann': null, room: 'after' })
      await heard.until(({ canceled }) => canceled !== null)

      expect(heard.values).toEqual(['before'])
      await expect(ann.get('room')).rejects.toThrow(denied)
    },
  },
  {
    name: 'a listener elsewhere goes on when another of the same client is ended',
    rules: {
      flag: { '.write': true },
      closed: { '.read': "root.child('flag').val() !== false" },
      open: { '.read': true, '.write': true },
    },
    async run({ open }) {
      const [writer, reader] = [await open(), await open()]
      const [closed, stays] = [await listen(reader, 'closed'), await listen(reader, 'open')]

      await writer.set('flag', false)
      await closed.until(({ canceled }) => canceled !== null)
      await writer.set('open', 1)
      await stays.until(({ last }) => last === 1)

      expect(stays.canceled).toBeNull()
    },
  },
  {
    name: 'a priority is what rules see of it',
    rules: { '.read': true, list: { $key: { '.write': 'newData.getPriority() > 5' } } },
    async run({ open }) {
      const client = await open()

      await client.setWithPriority('list/a', 1, 6)
      await expect(client.setPriority('list/a', 4)).rejects.toThrow(denied)
      await client.setPriority('list/a', 7)

      expect((await client.get('list/a')).exportVal()).toEqual({ '.value': 1, '.priority': 7 })
    },
  },
]
