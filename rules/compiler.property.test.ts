/**
 * Random rules on random data: the compiled engine and the plain interpreter decide every operation alike, an
 * expression printed and read again is the same one, and no text whatever makes loading throw.
 * A failing run prints its seed; pass it to `fc.assert` as `seed` to repeat it.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Path, parseValue, type Value } from '../protocol/index.ts'
import { type Expression, partsOf } from './ast.ts'
import { afterWrites, jsonView } from './data-view-json.ts'
import type { Tracer } from './evaluation.ts'
import { defaultLimits } from './limits.ts'
import { loadRuleset } from './load.ts'
import { parseExpression } from './parser.ts'
import { compileToPlain } from './plain.ts'
import { printExpression } from './printer.ts'
import { noQuery, type RuleQuery } from './query.ts'
import type { CompiledRuleset } from './ruleset.ts'

const KEYS = ['a', 'b', 'c', '5', 'constructor'] as const

/** Expression texts by static type, so that nearly all of them pass the checker. */
const { bool } = fc.letrec((tie) => {
  const depthSize = 'small'
  const of = (name: string): fc.Arbitrary<string> => tie(name) as fc.Arbitrary<string>
  const one = (...list: fc.Arbitrary<string>[]) => fc.oneof({ depthSize, withCrossShrink: true }, ...list)
  const join = (parts: (string | fc.Arbitrary<string>)[]): fc.Arbitrary<string> =>
    fc
      .tuple(...parts.map((part) => (typeof part === 'string' ? fc.constant(part) : part)))
      .map((p) => p.join(''))
  const word = fc.constantFrom(
    ...["'a'", "'b'", "'c/a'", "'/a'", "'b/'", "''", "'5'", "'a.b'", "'constructor'"],
  )
  const number = fc.constantFrom('0', '1', '2', '5', '0.5', '1e3', '-1')
  const compare = fc.constantFrom('==', '!=', '===', '!==')
  const order = fc.constantFrom('<', '<=', '>', '>=')
  const list = fc
    .array(one(word, of('text'), of('value')), { maxLength: 3 })
    .map((names) => `[${names.join(', ')}]`)
  return {
    bool: one(
      fc.constantFrom('true', 'false', 'auth != null', 'auth.uid == $x', 'query.orderByKey'),
      join([
        of('snapshot'),
        '.',
        fc.constantFrom('exists', 'isString', 'isNumber', 'isBoolean', 'hasChildren'),
        '()',
      ]),
      join([of('snapshot'), '.hasChild(', one(word, of('text'), of('value')), ')']),
      join([of('snapshot'), '.hasChildren(', list, ')']),
      join([
        '(',
        one(of('value'), of('number'), of('text')),
        ' ',
        compare,
        ' ',
        one(of('value'), of('number'), of('text'), fc.constant('null')),
        ')',
      ]),
      join(['(', one(of('value'), of('number')), ' ', order, ' ', one(of('value'), of('number')), ')']),
      join(['(', one(of('value'), of('text')), ' ', order, ' ', one(of('value'), of('text')), ')']),
      join(['(', of('bool'), ' && ', of('bool'), ')']),
      join([of('bool'), ' || ', of('bool'), ' || ', of('bool')]).map((text) => `(${text})`),
      join(['!(', of('bool'), ')']),
      join(['(', of('bool'), ' ? ', of('bool'), ' : ', of('bool'), ')']),
      join([
        one(of('text'), of('value')),
        '.',
        fc.constantFrom('contains', 'beginsWith', 'endsWith'),
        '(',
        one(of('text'), of('value')),
        ')',
      ]),
      join([
        one(of('text'), of('value')),
        '.matches(',
        fc.constantFrom('/^[ab]+$/', '/A/i', '/a|b/', '/^.{1,2}$/'),
        ')',
      ]),
    ),
    value: one(
      fc.constantFrom(
        'null',
        'true',
        'auth.uid',
        'auth.n',
        'auth.t.a',
        'auth.none.deep',
        'auth[$x]',
        'auth.constructor',
        'query.limitToFirst',
        'query.equalTo',
      ),
      join([of('snapshot'), '.', fc.constantFrom('val', 'getPriority'), '()']),
      join(['(', of('value'), ' + ', of('value'), ')']),
      join([
        '(',
        of('bool'),
        ' ? ',
        one(of('value'), of('text'), of('snapshot')),
        ' : ',
        one(of('number'), of('value')),
        ')',
      ]),
    ).filter((text) => text !== 'true' && text !== 'null'),
    number: one(
      number,
      fc.constant('now'),
      join([
        '(',
        one(of('number'), of('value')),
        ' ',
        fc.constantFrom('-', '*', '/', '%'),
        ' ',
        one(of('number'), of('value')),
        ')',
      ]),
      join(['-', one(number, fc.constant('now'))]).map((text) => `(${text.replace('--', '- -')})`),
      join([one(of('text'), of('value')), '.length']),
    ),
    text: one(
      word,
      fc.constant('$x'),
      join(['(', of('text'), ' + ', one(of('text'), of('number'), of('value')), ')']),
      join(["('a/' + ", one(of('value'), of('text')), " + '/b')"]),
      join(['(', one(of('value'), of('number')), ' + ', of('text'), ')']),
      join([one(of('text'), of('value')), '.', fc.constantFrom('toUpperCase', 'toLowerCase'), '()']),
      join([one(of('text'), of('value')), '.replace(', of('text'), ', ', of('text'), ')']),
    ),
    snapshot: one(
      fc.constantFrom('data', 'root', 'newData', "root.child('a')"),
      join([of('snapshot'), '.child(', one(word, of('text'), of('value')), ')']),
      join([of('snapshot'), '.parent()']),
      join(['(', of('bool'), ' ? ', of('snapshot'), ' : ', of('snapshot'), ')']),
    ),
  }
})

const leaf = fc.constantFrom<unknown>(true, false, 0, 1, 2, 5, 'a', 'b', 'ab', '5', null)
const { tree } = fc.letrec((tie) => ({
  tree: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    fc.dictionary(fc.constantFrom(...KEYS), tie('tree'), { maxKeys: 4 }),
    fc.record({
      '.value': fc.constantFrom('a', 1, true),
      '.priority': fc.constantFrom<unknown>(1, 'a', null),
    }),
  ),
}))
const value: fc.Arbitrary<Value> = tree.map(parseValue)
const path: fc.Arbitrary<Path> = fc.array(fc.constantFrom(...KEYS), { maxLength: 4 })
const auth = fc.constantFrom<unknown>(
  null,
  { uid: 'a', n: 1, t: { a: 'b' } },
  { uid: 5, n: 'x', t: ['p'] },
  { uid: 'a/b' },
)
const query = fc.constantFrom<RuleQuery>(noQuery, {
  ...noQuery,
  orderByKey: true,
  limitToFirst: 2,
  equalTo: 'a',
})

/** Evaluates in the interpreter, which is what any tracer makes a check do. */
const interpreted: Tracer = { started: () => ({ evaluated() {} }), ended() {} }

/** Only rules that load: what the checker refuses is other tests' business. */
function rulesetOf(expressions: readonly string[]): CompiledRuleset | null {
  const [read, write, validate, deepRead, deepWrite, deepValidate] = expressions.map((text) =>
    loadRuleset(JSON.stringify({ rules: { $x: { '.write': text } } })).ok ? text : 'true',
  )
  const readable = (text: string | undefined) =>
    text?.includes('newData') ? 'auth != null' : (text ?? 'true')
  const rules = {
    $x: {
      '.read': readable(read),
      '.write': write,
      '.validate': validate,
      b: { '.validate': validate },
      $y: {
        '.read': readable(deepRead),
        '.write': deepWrite,
        '.validate': deepValidate,
        a: { '.validate': validate },
      },
    },
  }
  const result = loadRuleset(JSON.stringify({ rules }))
  return result.ok ? (result.ruleset as CompiledRuleset) : null
}

test('compiled rules decide as the interpreter does', { timeout: 120_000 }, () => {
  let checks = 0
  const sixRules = fc.array(bool as fc.Arbitrary<string>, { minLength: 6, maxLength: 6 })
  const writes = fc.uniqueArray(fc.tuple(path, value), {
    minLength: 1,
    maxLength: 3,
    selector: ([at]) => at.join('/'),
  })

  fc.assert(
    fc.property(sixRules, value, writes, auth, query, (expressions, stored, changes, who, asked) => {
      const ruleset = rulesetOf(expressions)
      if (ruleset === null) return
      const data = jsonView(stored)
      const newData = jsonView(afterWrites(stored, changes))
      const locations = changes.map(([at]) => at)
      const write = { locations, auth: who, nowMs: 5, data, newData }
      expect(ruleset.checkWrite(write)).toEqual(ruleset.checkWrite({ ...write, tracer: interpreted }))
      for (const at of locations) {
        const read = { path: at, auth: who, nowMs: 5, data, query: asked }
        expect(ruleset.checkRead(read)).toEqual(ruleset.checkRead({ ...read, tracer: interpreted }))
      }
      checks += 1 + locations.length
    }),
    { numRuns: 2000 },
  )

  expect(checks).toBeGreaterThan(3000)
})

/** Extensions as parts of random conditions: lists whose elements may fail, the new root, functions. */
const extended = fc
  .tuple(
    fc.array(bool as fc.Arbitrary<string>, { minLength: 3, maxLength: 3 }),
    fc.array(
      fc.constantFrom("'a'", '1', 'auth.uid', 'auth.t.a', 'data.val()', '(now - auth.n)', '$x.length'),
      {
        maxLength: 4,
      },
    ),
    fc.constantFrom('$x', 'auth.uid', 'newRoot.child($x).val()', '(auth.n - 1)', "of('a')", 'newData.val()'),
    fc.constantFrom('&&', '||'),
  )
  .map(([[a, b, c], list, left, operator]) => {
    const member = `(${left} in [${list.join(', ')}])`
    return `(${a} ${operator} ${member}) == (${b}) || !${member} ${operator} both(${c}, ${member})`
  })
const functions = { 'of(key)': 'newRoot.child(key).child($x).val()', 'both(a, b)': 'a && b' }

test('rules with extensions decide as the interpreter does, and as their plain form', {
  timeout: 120_000,
}, () => {
  let checks = 0
  fc.assert(
    fc.property(extended, value, path, value, auth, (rule, stored, at, written, who) => {
      const text = JSON.stringify({ functions, rules: { $x: { '.write': rule, b: { '.write': rule } } } })
      const loaded = loadRuleset(text)
      if (!loaded.ok) return
      const plain = compileToPlain(text)
      if (!plain.ok) throw new Error(plain.errors[0]!.message)
      const plainLoaded = loadRuleset(plain.text)
      if (!plainLoaded.ok) throw new Error(`${plain.text}: ${plainLoaded.errors[0]!.message}`)
      const data = jsonView(stored)
      const newData = jsonView(afterWrites(stored, [[at, written]]))
      const write = { locations: [at], auth: who, nowMs: 5, data, newData }

      const { allowed, reason } = loaded.ruleset.checkWrite(write)
      const traced = loaded.ruleset.checkWrite({ ...write, tracer: interpreted })
      const asPlain = plainLoaded.ruleset.checkWrite(write)

      expect([traced.allowed, traced.reason]).toEqual([allowed, reason])
      expect([asPlain.allowed, asPlain.reason]).toEqual([allowed, reason])
      checks += 1
    }),
    { numRuns: 2000 },
  )

  expect(checks).toBeGreaterThan(500)
})

test('an expression printed and parsed again is the same expression', { timeout: 120_000 }, () => {
  const options = { limits: defaultLimits, hasExtensions: false }
  fc.assert(
    fc.property(bool as fc.Arbitrary<string>, (text) => {
      const first = parseExpression(text, options)
      if (!('expression' in first)) return
      const printed = printExpression(first.expression)
      const second = parseExpression(printed, options)
      if (!('expression' in second))
        throw new Error(`${text} printed as ${printed}: ${second.problem.message}`)
      expect(shapeOf(second.expression)).toEqual(shapeOf(first.expression))
    }),
    { numRuns: 3000 },
  )
})

/** An expression without places; brackets leave nothing else behind, except around a chain of the same operator. */
function shapeOf(expression: Expression): unknown {
  const parts = partsOf(expression).map(shapeOf)
  const { kind } = expression
  const own = { ...expression, start: 0, end: 0, height: 0, nameSpan: null }
  if (kind === 'literal' || kind === 'regex' || kind === 'name') return own
  const operator = kind === 'unary' || kind === 'binary' || kind === 'logical' ? expression.operator : null
  return { kind, operator, name: kind === 'member' ? expression.name : null, parts }
}

test('no text makes loading throw', { timeout: 120_000 }, () => {
  const good = JSON.stringify({
    rules: { a: { $b: { '.read': 'auth.uid == $b && data.val().matches(/^a[b]+$/)' } } },
  })
  const piece = fc.oneof(
    fc.string({ maxLength: 5 }),
    fc.constantFrom('"', '\\', '{', '}', '[', '//', '/*', '(', "'", ',', '\u0000', '/', '?', '$'),
  )
  const edit = fc.tuple(fc.nat(good.length), fc.nat(6), piece)
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 6 }), (edits) => {
      let text = good
      for (const [at, length, insert] of edits) text = text.slice(0, at) + insert + text.slice(at + length)
      const result = loadRuleset(text)
      if (result.ok) return
      expect(result.errors.length).toBeGreaterThan(0)
      for (const { line, column, length } of result.errors)
        expect(Math.min(line, column, length)).toBeGreaterThan(0)
    }),
    { numRuns: 5000 },
  )
})
