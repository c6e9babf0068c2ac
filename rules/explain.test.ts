import { expect, test } from 'vitest'
import { parseValue } from '../protocol/index.ts'
import { explain, formatExplanation } from './explain.ts'
import { loadRuleset } from './load.ts'
import type { Ruleset } from './ruleset.ts'

function load(rules: unknown): Ruleset {
  const result = loadRuleset(JSON.stringify({ rules }))
  if (!result.ok) throw new Error(result.errors[0]!.message)
  return result.ruleset
}

test('an explanation tells every rule asked, with the values of its parts', () => {
  const ruleset = load({
    rooms: {
      $room: {
        '.write': "auth != null && root.child('members').child($room).child(auth.uid).val() === true",
        text: { '.validate': 'newData.isString() && newData.val().length < 4' },
      },
    },
  })
  const stored = parseValue({ members: { r1: { kim: true } } })

  const explanation = explain(ruleset, stored, {
    kind: 'set',
    path: '/rooms/r1',
    value: { text: 'hello' },
    auth: { uid: 'kim' },
    nowMs: 0,
  })

  expect(formatExplanation(explanation)).toBe(
    [
      'true   .write of /rooms/$room  (1:38)  $room = "r1"',
      "         auth != null && root.child('members').child($room).child(auth.uid).val() === true  true",
      '           auth != null                                                          true',
      '             auth                                                                {"uid":"kim"}',
      "           root.child('members').child($room).child(auth.uid).val() === true     true",
      "             root.child('members').child($room).child(auth.uid).val()            true",
      '               $room                                                             "r1"',
      '               auth.uid                                                          "kim"',
      'false  .validate of /rooms/$room/text  (1:142)  $room = "r1"',
      '         newData.isString() && newData.val().length < 4  false',
      '           newData.isString()                            true',
      '           newData.val().length < 4                      false',
      '             newData.val().length                        5',
      '               newData.val()                             "hello"',
      'read   data /members/r1/kim  true',
      '       newData /rooms/r1  {…}',
      '       newData /rooms/r1/text  "hello"',
      'denied at /rooms/r1/text: `.validate` of /rooms/$room/text (1:142) does not hold',
    ].join('\n'),
  )
})

test('a failure is told with the part that failed', () => {
  const ruleset = load({ '.read': 'data.val().length > 1 || true' })

  const { decision, steps } = explain(ruleset, null, { kind: 'get', path: '/', auth: null, nowMs: 0 })

  expect(decision.reason).toBe('error')
  expect(steps[0]!.failure).toEqual({
    text: 'data.val().length',
    message: 'length of null, which is not a string',
  })
})
