import { expect, test } from 'vitest'
import { type GroupPlace, GroupReader, GroupRing } from './group-ring.ts'

function bytesOf(length: number, fill: number): Uint8Array {
  return new Uint8Array(length).fill(fill)
}

/** Followers that are told. */
const ALL = [0]

test('groups come out as they went in, round and round', () => {
  const ring = new GroupRing(1, 1024)
  ring.attach(0)
  const reader = new GroupReader(ring.cursors, 0)

  for (let n = 0; n < 500; n++) {
    const place = ring.write(bytesOf(1 + ((n * 37) % 200), n % 251), ALL)

    expect(place.memory).toBe(ring.memory)
    expect(reader.read(place, (bytes) => [...bytes].every((byte) => byte === n % 251))).toBe(true)
  }
  expect(ring.unread(0)).toBe(0)
})

test('what the slowest follower has not read is not written over: further groups get memory of their own', () => {
  const ring = new GroupRing(2, 1024)
  ring.attach(0)
  ring.attach(1)
  const fast = new GroupReader(ring.cursors, 0)
  const slow = new GroupReader(ring.cursors, 1)

  const places: GroupPlace[] = []
  for (let n = 0; n < 20; n++) {
    places.push(ring.write(bytesOf(100, n), [0, 1]))
    fast.read(places[n]!, () => {})
  }

  expect(places.filter(({ memory }) => memory === ring.memory)).toHaveLength(10)
  expect(ring.unread(1)).toBe(2000)
  expect(places.map((place) => slow.read(place, (bytes) => bytes[99]))).toEqual(places.map((_, n) => n))
  expect(ring.unread(1)).toBe(0)
  expect(ring.write(bytesOf(100, 0), [0, 1]).memory).toBe(ring.memory)
})

test('a group that is large for the ring gets memory of its own', () => {
  const ring = new GroupRing(1, 1024)
  ring.attach(0)

  const place = ring.write(bytesOf(300, 7), ALL)

  expect(place.memory).not.toBe(ring.memory)
  expect(new GroupReader(ring.cursors, 0).read(place, (bytes) => bytes.length)).toBe(300)
})

test('a follower that has ended holds nothing back, and its successor begins where the ring is', () => {
  const ring = new GroupRing(1, 1024)
  ring.attach(0)
  for (let n = 0; n < 10; n++) ring.write(bytesOf(100, n), ALL)

  ring.detach(0)
  ring.attach(0)

  expect(ring.unread(0)).toBe(0)
  const place = ring.write(bytesOf(100, 9), ALL)
  expect(place.memory).toBe(ring.memory)
  expect(new GroupReader(ring.cursors, 0).read(place, (bytes) => bytes[0])).toBe(9)
})

test('a follower that is not told of groups holds nothing back, and is not behind', () => {
  const ring = new GroupRing(2, 1024)
  ring.attach(0)
  ring.attach(1)
  const told = new GroupReader(ring.cursors, 0)

  for (let n = 0; n < 100; n++) {
    const place = ring.write(bytesOf(100, n), [0])
    expect(place.memory).toBe(ring.memory)
    told.read(place, () => {})
  }

  expect(ring.unread(1)).toBe(0)
  const place = ring.write(bytesOf(100, 9), [0, 1])
  expect(new GroupReader(ring.cursors, 1).read(place, (bytes) => bytes[0])).toBe(9)
})
