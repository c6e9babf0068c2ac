/**
 * Compiler: checked AST -> JavaScript function. The only hot code of this folder is what it writes.
 *
 * Code is generated from nodes of the checked AST alone. No text of the rules file is ever copied into it:
 * strings and numbers go through JSON.stringify, names are looked up and replaced, everything else is a
 * constant handed over by reference. Where node runs without code generation, the interpreter takes over.
 *
 * - A snapshot is a view and a list of keys, both known here wherever the rule allows it, so `child`, `parent`
 *   and captures cost nothing when the rule runs: `data.parent().child($a)` is `[path[0], path[1]]`.
 * - The same read twice in one rule is made once: views do not change while a rule runs.
 * - Static types decide which checks are left for run time.
 */
import type { Path } from '../protocol/index.ts'
import type { Binary, Call, Expression, Member } from './ast.ts'
import { type DataView, OBJECT } from './data-view.ts'
import type { RuleQuery } from './query.ts'
import * as runtime from './runtime.ts'
import { splitKeys } from './runtime.ts'
import type { Scope } from './scope.ts'
import type { Type } from './types.ts'

/** `path` reaches at least down to the rule's own node. Throws FAILED or OVER_BUDGET. */
export type RuleFunction = (
  path: Path,
  auth: unknown,
  now: number,
  data: DataView,
  newData: DataView,
  query: RuleQuery,
  budget: runtime.Budget,
) => boolean

const HELPERS = { ...runtime, OBJECT, objectPrototype: Object.prototype, arrayPrototype: Array.prototype }
const PROLOGUE = `const {${Object.keys(HELPERS).join(', ')}} = helpers;\n`

export function compileRule(expression: Expression, scope: Scope): RuleFunction {
  const { source, constants } = generateRule(expression, scope)
  return new Function('helpers', 'constants', source)(HELPERS, constants)
}

/** The generated text and the constants it refers to; apart from `compileRule` so that tests can look at it. */
export function generateRule(expression: Expression, scope: Scope): { source: string; constants: unknown[] } {
  const emitter = new Emitter(scope)
  const body = emitter.finish(emitter.value(expression))
  const source = `"use strict";\n${PROLOGUE}${emitter.functions()}return function rule(path, auth, now, data, newData, query, budget) {\n${body}};`
  return { source, constants: emitter.constants }
}

/** Types whose run-time form is a plain value; the others never leave the place that uses them. */
const VALUE_TYPES: ReadonlySet<Type> = new Set<Type>([
  'Boolean',
  'Number',
  'String',
  'Null',
  'Value',
  'Auth',
  'QueryValue',
  'Mixed',
])

interface Key {
  code: string
  /** Whether the key is known to be a single one: a literal, or a capture, which came out of a path. */
  isPlain: boolean
}

/** A snapshot as the compiler sees it: resolved to keys, or code that makes one when the rule runs. */
type Place = { view: 'data' | 'newData'; keys: readonly Key[]; groups: readonly number[] } | { code: string }

/** Marks a shared read in generated code until it is known how often it is used. JSON.stringify escapes it. */
const MARK = '\u0001'

class Emitter {
  readonly constants: unknown[] = []
  private readonly scope: Scope
  private readonly getters: string[] = []
  private readonly shared: { code: string; uses: number }[] = []
  private readonly sharedIds = new Map<string, number>()

  constructor(scope: Scope) {
    this.scope = scope
  }

  /** Puts shared reads in place: written out where used once, kept in a variable where used more often. */
  finish(code: string): string {
    const variables: string[] = []
    const marked = new RegExp(`${MARK}(\\d+)${MARK}`, 'g')
    const place = (text: string): string =>
      text.replace(marked, (_, id: string) => {
        const { code: read, uses } = this.shared[Number(id)]!
        if (uses === 1) return place(read)
        const name = `v${id}`
        if (!variables.includes(name)) variables.push(name)
        return `(${name} !== undefined ? ${name} : (${name} = ${place(read)}))`
      })
    const result = place(code)
    return `${variables.length > 0 ? `let ${variables.join(', ')};\n` : ''}return ${result} === true;\n`
  }

  /** Functions that the rule calls, made once beside it. */
  functions(): string {
    return this.getters
      .map((name, id) => {
        const key = JSON.stringify(name)
        const isOwn = `objectPrototype[${key}] === undefined && arrayPrototype[${key}] === undefined`
        return `function get${id}(object) {
  if (typeof object !== "object" || object === null) return null;
  const value = object[${key}];
  return value !== undefined && ${isOwn} ? value : get(object, ${key});
}\n`
      })
      .join('')
  }

  value(expression: Expression): string {
    // A snapshot or a query as one branch of a choice of mixed types is an error wherever it is used.
    if (!VALUE_TYPES.has(expression.type)) return 'fail()'
    switch (expression.kind) {
      case 'literal':
        return JSON.stringify(expression.value)
      case 'name':
        return this.variable(expression.name)
      case 'member':
        return this.member(expression)
      case 'index':
        return `getIndex(${this.value(expression.object)}, ${this.value(expression.index)})`
      case 'call':
        return this.call(expression)
      case 'unary':
        if (expression.operator === '!') return `!(${this.value(expression.operand)})`
        return `(-${this.number(expression.operand)})`
      case 'binary':
        return this.binary(expression)
      case 'logical':
        return `(${expression.operands.map((operand) => this.value(operand)).join(` ${expression.operator} `)})`
      case 'conditional': {
        const { test, whenTrue, whenFalse } = expression
        return `(${this.value(test)} ? ${this.value(whenTrue)} : ${this.value(whenFalse)})`
      }
      default:
        return 'fail()'
    }
  }

  private variable(name: string): string {
    const index = this.scope.captures.get(name)
    return index === undefined ? name : `path[${index}]`
  }

  private member({ object, name }: Member): string {
    if (object.type === 'Query') return `query.${name}`
    const value = this.value(object)
    if (name === 'length') return object.type === 'String' ? `${value}.length` : `len(${value})`
    return this.share(`${this.getter(name)}(${value})`)
  }

  /**
   * The name of a function of this rule's own that reads one member of `auth` or of a claim. A property access
   * with a fixed name costs a few nanoseconds where Object.hasOwn costs fifty. It is as good as that one while no
   * prototype has a property of this name, which is asked each time and costs nothing: V8 watches prototypes.
   */
  private getter(name: string): string {
    let id = this.getters.indexOf(name)
    if (id < 0) id = this.getters.push(name) - 1
    return `get${id}`
  }

  private call({ callee, arguments: args }: Call): string {
    const { object, name } = callee as Member
    if (object.type === 'Snapshot') return this.snapshotMethod(object, name, args)
    const text = this.value(object)
    switch (name) {
      case 'matches':
        return `matches(${text}, ${this.constant((args[0] as { matcher: unknown }).matcher)}, budget)`
      default:
        return `${name}(${[text, ...args.map((argument) => this.value(argument)), 'budget'].join(', ')})`
    }
  }

  private snapshotMethod(object: Expression, name: string, args: readonly Expression[]): string {
    const place = this.place(object)
    switch (name) {
      case 'val':
        return this.read(place)
      case 'exists':
        return `(${this.read(place)} !== null)`
      case 'isString':
      case 'isNumber':
      case 'isBoolean':
        return `(typeof ${this.read(place)} === "${name.slice(2).toLowerCase()}")`
      case 'getPriority':
        return this.share(
          'code' in place ? `${place.code}.priority()` : `${place.view}.priorityAt(${this.path(place)})`,
        )
      case 'hasChild':
        return `(${this.read(this.child(place, args[0]!))} !== null)`
      case 'hasChildren':
        return this.hasChildren(place, args)
      case 'numChildren':
        return `countChildren(${this.made(place)}, budget)`
      default:
        return 'fail()'
    }
  }

  private hasChildren(place: Place, args: readonly Expression[]): string {
    const list = args[0]
    if (list === undefined) return `(${this.read(place)} === OBJECT)`
    if (list.kind !== 'array') return 'fail()'
    const { elements } = list
    // True whatever is there, but a key of the place that is no string still fails the rule.
    if (elements.length === 0) return `(${this.path(place)}, true)`
    const arePlain = elements.every((element) => element.kind === 'literal' || this.isCapture(element))
    if (arePlain && !('code' in place)) {
      return `(${elements.map((element) => `${this.read(this.child(place, element))} !== null`).join(' && ')})`
    }
    const names = elements.map((element) => this.value(element)).join(', ')
    return `hasAll(${this.made(place)}, [${names}])`
  }

  private binary(expression: Binary): string {
    const { operator, left, right } = expression
    switch (operator) {
      case '==':
      case '!=': {
        const [a, b] = [this.value(left), this.value(right)]
        if (isPrimitive(left.type) || isPrimitive(right.type)) return `(${a} ${operator}= ${b})`
        return `${operator === '==' ? '' : '!'}same(${a}, ${b}, budget)`
      }
      case '<':
      case '<=':
      case '>':
      case '>=':
        return this.order(operator, left, right)
      case '+':
        return this.sum(left, right)
      case '/':
        return `divide(${this.number(left)}, ${this.number(right)})`
      case 'in':
        return this.membership(left, right)
      default:
        return `(${this.number(left)} ${operator} ${this.number(right)})`
    }
  }

  private order(operator: '<' | '<=' | '>' | '>=', left: Expression, right: Expression): string {
    const types = [left.type, right.type]
    if (types.includes('Number') && !types.includes('String')) {
      return `(${this.number(left)} ${operator} ${this.number(right)})`
    }
    if (types.includes('String') && !types.includes('Number')) {
      return `(${this.text(left)} ${operator} ${this.text(right)})`
    }
    const [a, b] = [this.value(left), this.value(right)]
    if (operator === '<') return `below(${a}, ${b}, budget)`
    if (operator === '<=') return `atMost(${a}, ${b}, budget)`
    return operator === '>' ? `below(${b}, ${a}, budget)` : `atMost(${b}, ${a}, budget)`
  }

  private sum(left: Expression, right: Expression): string {
    if (left.type === 'Number' && right.type === 'Number')
      return `(${this.value(left)} + ${this.value(right)})`
    if (left.type === 'String' || right.type === 'String')
      return `glue(${this.part(left)}, ${this.part(right)}, budget)`
    return `add(${this.value(left)}, ${this.value(right)}, budget)`
  }

  private membership(left: Expression, right: Expression): string {
    if (right.kind !== 'array') return `isIn(${this.value(left)}, ${this.value(right)}, budget)`
    const { elements } = right
    if (elements.length === 0) return 'false'
    const list = elements.map((element) => this.value(element))
    if (elements.every(({ kind }) => kind === 'literal')) {
      return `isOneOf(${this.value(left)}, [${list.join(', ')}], budget)`
    }
    // What could fail is asked only if nothing before it was equal.
    return `isAnyOf(${this.value(left)}, [${list.map((code) => `() => ${code}`).join(', ')}], budget)`
  }

  private number(expression: Expression): string {
    const value = this.value(expression)
    return expression.type === 'Number' ? value : `num(${value})`
  }

  private text(expression: Expression): string {
    const value = this.value(expression)
    return expression.type === 'String' ? value : `str(${value})`
  }

  private part(expression: Expression): string {
    const value = this.value(expression)
    return expression.type === 'String' ? value : `part(${value})`
  }

  /** Resolves a snapshot expression. */
  private place(expression: Expression): Place {
    switch (expression.kind) {
      case 'name':
        return this.variablePlace(expression.name)
      case 'conditional': {
        const { test, whenTrue, whenFalse } = expression
        return {
          code: `(${this.value(test)} ? ${this.made(this.place(whenTrue))} : ${this.made(this.place(whenFalse))})`,
        }
      }
      case 'call': {
        const { object, name } = expression.callee as Member
        const place = this.place(object)
        return name === 'child' ? this.child(place, expression.arguments[0]!) : this.parent(place)
      }
      default:
        return { code: 'fail()' }
    }
  }

  private variablePlace(name: string): Place {
    const view = name === 'newData' || name === 'newRoot' ? 'newData' : 'data'
    if (name === 'root' || name === 'newRoot') return { view, keys: [], groups: [] }
    const keys = this.scope.pattern.map((key, i) => ({
      code: key.startsWith('$') ? `path[${i}]` : JSON.stringify(key),
      isPlain: true,
    }))
    return { view, keys, groups: [] }
  }

  private child(place: Place, argument: Expression): Place {
    if ('code' in place) return { code: `${place.code}.child(${this.value(argument)})` }
    const keys = this.keysOf(argument)
    const start = place.keys.length
    const isPlain = keys.every((key) => key.isPlain)
    return {
      view: place.view,
      keys: [...place.keys, ...keys],
      groups: isPlain ? place.groups : [...place.groups, start, start + keys.length],
    }
  }

  private parent(place: Place): Place {
    if ('code' in place) return { code: `${place.code}.parent()` }
    if (place.keys.length === 0) return { code: 'fail()' }
    if (!place.keys.at(-1)!.isPlain) return { code: `${this.made(place)}.parent()` }
    // A plain key at the end of a group of its own text: the group ends one key earlier.
    const groups = [...place.groups]
    if (groups.at(-1) === place.keys.length) groups[groups.length - 1] = place.keys.length - 1
    return { view: place.view, keys: place.keys.slice(0, -1), groups }
  }

  /** The keys a `child` argument stands for, split at the slashes of its literal parts. */
  private keysOf(argument: Expression): Key[] {
    if (argument.kind === 'literal') {
      return splitKeys(String(argument.value)).map((key) => ({ code: JSON.stringify(key), isPlain: true }))
    }
    if (this.isCapture(argument)) return [{ code: this.value(argument), isPlain: true }]
    const parts = partsOfText(argument).filter((part) => part.kind !== 'literal' || part.value !== '')
    if (parts.length === 0) return [{ code: '""', isPlain: true }]
    const [first, last] = [parts[0]!, parts.at(-1)!]
    const isSlash = (part: Expression, at: 0 | -1): boolean =>
      part.kind === 'literal' && typeof part.value === 'string' && part.value.at(at) === '/'
    // Slashes at the ends are tolerated by splitting the text as a whole, which is left to run time.
    if (parts.length === 1 || isSlash(first, 0) || isSlash(last, -1)) {
      return [{ code: this.value(argument), isPlain: false }]
    }
    return this.keysOfParts(parts)
  }

  /** `'users/' + $uid + '/name'` is three keys, the middle one a capture. */
  private keysOfParts(parts: readonly Expression[]): Key[] {
    const keys: { pieces: string[]; isPlain: boolean }[] = [{ pieces: [], isPlain: true }]
    for (const part of parts) {
      const key = keys.at(-1)!
      if (part.kind === 'literal' && typeof part.value === 'string') {
        const texts = part.value.split('/')
        if (texts[0] !== '') key.pieces.push(JSON.stringify(texts[0]))
        for (const text of texts.slice(1)) {
          keys.push({ pieces: text === '' ? [] : [JSON.stringify(text)], isPlain: true })
        }
      } else {
        key.pieces.push(this.part(part))
        if (!this.isCapture(part)) key.isPlain = false
      }
    }
    return keys.map(({ pieces, isPlain }) => ({
      code: pieces.length === 0 ? '""' : pieces.reduce((a, b) => `glue(${a}, ${b}, budget)`),
      isPlain,
    }))
  }

  private isCapture(expression: Expression): boolean {
    return expression.kind === 'name' && this.scope.captures.has(expression.name)
  }

  private read(place: Place): string {
    return this.share(
      'code' in place ? `${place.code}.value()` : `${place.view}.valueAt(${this.path(place)})`,
    )
  }

  private made(place: Place): string {
    return 'code' in place ? place.code : `new Snapshot(${place.view}, ${this.path(place)})`
  }

  private path(place: Place): string {
    if ('code' in place) return `${place.code}.path`
    const { keys, groups } = place
    const list = `[${keys.map((key) => key.code).join(', ')}]`
    if (groups.length === 0) return list
    if (groups.length === 2) {
      const unknown = keys.flatMap((key, i) => (key.isPlain ? [] : [i]))
      if (unknown.length === 1) return `path1(${list}, ${unknown[0]}, ${groups[0]}, ${groups[1]})`
    }
    return `pathOf(${list}, ${this.constant(groups)})`
  }

  private constant(value: unknown): string {
    this.constants.push(value)
    return `constants[${this.constants.length - 1}]`
  }

  private share(code: string): string {
    let id = this.sharedIds.get(code)
    if (id === undefined) {
      id = this.shared.length
      this.sharedIds.set(code, id)
      this.shared.push({ code, uses: 0 })
    }
    this.shared[id]!.uses += 1
    return `${MARK}${id}${MARK}`
  }
}

function isPrimitive(type: Type): boolean {
  return type === 'Boolean' || type === 'Number' || type === 'String' || type === 'Null'
}

/** The parts of a concatenation that is known to be text; any other expression is one part. */
function partsOfText(expression: Expression): Expression[] {
  if (expression.kind !== 'binary' || expression.operator !== '+' || expression.type !== 'String')
    return [expression]
  return [...partsOfText(expression.left), ...partsOfText(expression.right)]
}
