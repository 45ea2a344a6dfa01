/**
 * @file The grammar of expressions, with jinja2's precedence.
 */
import type { Call, Expression, Target } from './ast.ts';
import { JinjaError } from './errors.ts';
import type { Token, TokenType } from './lexer.ts';
import { Float } from './values.ts';

/** Deeper nesting is no template that was written by hand, and would exhaust the stack. */
const MAX_DEPTH = 200;
const COMPARISONS = new Set(['==', '!=', '<', '>', '<=', '>=']);
const CONSTANTS = new Map<string, boolean | null>([
  ['true', true],
  ['True', true],
  ['false', false],
  ['False', false],
  ['none', null],
  ['None', null],
]);
const NO_ARGUMENTS: Call = { args: [], kwargs: [], spread: null, spreadKwargs: null };

/** Reads tokens one after the other. */
export class ExpressionParser {
  readonly #tokens: readonly Token[];
  /** Every name that was read, to see what a macro asks for. */
  readonly names: string[] = [];
  #at = 0;
  #depth = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get current(): Token {
    return this.#tokens[this.#at];
  }

  next(): Token {
    const token = this.current;
    if (token.type !== 'eof') this.#at++;
    return token;
  }

  is(type: TokenType, text?: string): boolean {
    return this.current.type === type && (text === undefined || this.current.text === text);
  }

  isName(...names: string[]): boolean {
    return this.current.type === 'name' && names.includes(this.current.text);
  }

  skip(type: TokenType, text?: string): boolean {
    const found = this.is(type, text);
    if (found) this.next();
    return found;
  }

  expect(type: TokenType, text?: string): Token {
    if (!this.is(type, text)) throw this.error(`${text ? `'${text}'` : `a ${type}`} is expected`);
    return this.next();
  }

  error(what: string): JinjaError {
    const { type, text, line } = this.current;
    const found = type === 'eof' ? 'the end' : text === '' ? type : `'${text}'`;
    return new JinjaError(`line ${line}: ${what}, but here is ${found}`);
  }

  /** Runs a part of the grammar that may contain itself. */
  nested<T>(parse: () => T): T {
    if (++this.#depth > MAX_DEPTH)
      throw new JinjaError(`line ${this.current.line}: nested more than ${MAX_DEPTH} deep`);
    const result = parse();
    this.#depth--;
    return result;
  }

  /** An expression, or several with commas as a tuple. */
  tuple(withCondition = true): Expression {
    const parse = () => (withCondition ? this.expression() : this.expression(false));
    const items = [parse()];
    let isTuple = false;
    while (this.skip('operator', ',')) {
      isTuple = true;
      if (!this.#startsExpression()) break;
      items.push(parse());
    }
    return isTuple ? { kind: 'tuple', items } : items[0];
  }

  #startsExpression(): boolean {
    const { type, text } = this.current;
    if (type === 'operator') return ['(', '[', '{', '-', '+'].includes(text);
    return ['name', 'string', 'integer', 'float'].includes(type) && !this.isName('in', 'if', 'recursive');
  }

  expression(withCondition = true): Expression {
    return this.nested(() => {
      let value = this.#or();
      while (withCondition && this.isName('if')) {
        this.next();
        const test = this.#or();
        let otherwise: Expression | null = null;
        if (this.isName('else')) {
          this.next();
          otherwise = this.expression();
        }
        value = { kind: 'condition', test, value, otherwise };
      }
      return value;
    });
  }

  #or(): Expression {
    let left = this.#and();
    while (this.isName('or')) {
      this.next();
      left = { kind: 'or', left, right: this.#and() };
    }
    return left;
  }

  #and(): Expression {
    let left = this.#not();
    while (this.isName('and')) {
      this.next();
      left = { kind: 'and', left, right: this.#not() };
    }
    return left;
  }

  #not(): Expression {
    if (!this.isName('not')) return this.#compare();
    this.next();
    return { kind: 'unary', operator: 'not', operand: this.nested(() => this.#not()) };
  }

  #compare(): Expression {
    const first = this.#sum();
    const rest: [string, Expression][] = [];
    for (;;) {
      const { type, text } = this.current;
      if (type === 'operator' && COMPARISONS.has(text)) {
        this.next();
        rest.push([text, this.#sum()]);
      } else if (this.isName('in')) {
        this.next();
        rest.push(['in', this.#sum()]);
      } else if (this.isName('not') && this.#tokens[this.#at + 1].text === 'in') {
        this.next();
        this.next();
        rest.push(['not in', this.#sum()]);
      } else return rest.length === 0 ? first : { kind: 'compare', first, rest };
    }
  }

  #sum(): Expression {
    return this.#leftToRight(['+', '-'], () => this.#join());
  }

  #join(): Expression {
    const items = [this.#product()];
    while (this.skip('operator', '~')) items.push(this.#product());
    return items.length === 1 ? items[0] : { kind: 'join', items };
  }

  #product(): Expression {
    return this.#leftToRight(['*', '/', '//', '%'], () => this.#leftToRight(['**'], () => this.#unary()));
  }

  #leftToRight(operators: readonly string[], operand: () => Expression): Expression {
    let left = operand();
    while (this.current.type === 'operator' && operators.includes(this.current.text)) {
      const operator = this.next().text;
      left = { kind: 'binary', operator, left, right: operand() };
    }
    return left;
  }

  #unary(withFilters = true): Expression {
    const sign = (['-', '+'] as const).find((operator) => this.is('operator', operator));
    let value: Expression;
    if (sign) {
      this.next();
      value = { kind: 'unary', operator: sign, operand: this.nested(() => this.#unary(false)) };
    } else value = this.#primary();
    value = this.#postfix(value);
    return withFilters ? this.filters(value) : value;
  }

  #primary(): Expression {
    const { type, text } = this.current;
    switch (type) {
      case 'name':
        this.next();
        if (CONSTANTS.has(text)) return { kind: 'constant', value: CONSTANTS.get(text)! };
        this.names.push(text);
        return { kind: 'name', name: text };
      case 'string': {
        let value = '';
        while (this.is('string')) value += this.next().text;
        return { kind: 'constant', value };
      }
      case 'integer':
        this.next();
        return { kind: 'constant', value: Number(text.replaceAll('_', '')) };
      case 'float': {
        this.next();
        const value = Number(text.replaceAll('_', ''));
        return { kind: 'constant', value: Number.isInteger(value) ? new Float(value) : value };
      }
    }
    if (this.skip('operator', '(')) return this.#parenthesized();
    if (this.skip('operator', '[')) return { kind: 'list', items: this.#list(']', () => this.expression()) };
    if (this.skip('operator', '{')) {
      const entry = (): [Expression, Expression] => {
        const key = this.expression();
        this.expect('operator', ':');
        return [key, this.expression()];
      };
      return { kind: 'dict', entries: this.#list('}', entry) };
    }
    throw this.error('an expression is expected');
  }

  #parenthesized(): Expression {
    if (this.skip('operator', ')')) return { kind: 'tuple', items: [] };
    const value = this.tuple();
    this.expect('operator', ')');
    return value;
  }

  /** Parts with commas between them, up to `end`. */
  #list<T>(end: string, part: () => T): T[] {
    const parts: T[] = [];
    while (!this.is('operator', end)) {
      if (parts.length > 0) {
        this.expect('operator', ',');
        if (this.is('operator', end)) break;
      }
      parts.push(part());
    }
    this.next();
    return parts;
  }

  #postfix(start: Expression): Expression {
    let value = start;
    for (;;) {
      if (this.skip('operator', '.')) {
        if (this.is('integer'))
          value = { kind: 'item', object: value, index: { kind: 'constant', value: Number(this.next().text) } };
        else value = { kind: 'attribute', object: value, name: this.expect('name').text };
      } else if (this.skip('operator', '[')) value = this.#subscript(value);
      else if (this.is('operator', '(')) value = { kind: 'call', callee: value, ...this.call() };
      else return value;
    }
  }

  #subscript(object: Expression): Expression {
    const parts: (Expression | null)[] = [null];
    while (!this.is('operator', ']')) {
      if (this.skip('operator', ':')) parts.push(null);
      else if (parts.at(-1) === null) parts[parts.length - 1] = this.expression();
      else throw this.error("']' is expected");
    }
    this.next();
    const [start, stop = null, step = null] = parts;
    if (parts.length > 3 || (parts.length === 1 && start === null)) throw this.error('an index is expected');
    return parts.length === 1 ? { kind: 'item', object, index: start! } : { kind: 'slice', object, start, stop, step };
  }

  call(): Call {
    this.expect('operator', '(');
    const args: Expression[] = [];
    const kwargs: [string, Expression][] = [];
    let spread: Expression | null = null;
    let spreadKwargs: Expression | null = null;
    this.#list(')', () => {
      if (this.skip('operator', '**')) spreadKwargs = this.expression();
      else if (this.skip('operator', '*')) spread = this.expression();
      else if (this.is('name') && this.#tokens[this.#at + 1].text === '=') {
        const name = this.next().text;
        this.next();
        kwargs.push([name, this.expression()]);
      } else args.push(this.expression());
    });
    return { args, kwargs, spread, spreadKwargs };
  }

  /** Filters, tests and calls behind a value. */
  filters(start: Expression): Expression {
    let value = start;
    for (;;) {
      if (this.skip('operator', '|')) value = this.filter(value);
      else if (this.isName('is')) value = this.#test(value);
      else if (this.is('operator', '(')) value = { kind: 'call', callee: value, ...this.call() };
      else return value;
    }
  }

  filter(object: Expression | null): Expression {
    const name = this.#dotted();
    const call = this.is('operator', '(') ? this.call() : NO_ARGUMENTS;
    return { kind: 'filter', object, name, ...call };
  }

  #test(object: Expression): Expression {
    this.next();
    const isNegated = this.isName('not');
    if (isNegated) this.next();
    const name = this.#dotted();
    let call = NO_ARGUMENTS;
    if (this.is('operator', '(')) call = this.call();
    else if (this.#startsExpression() && !this.is('operator', '-') && !this.is('operator', '+')) {
      if (this.isName('is')) throw this.error('one test at a time is expected');
      if (!this.isName('else', 'or', 'and')) call = { ...NO_ARGUMENTS, args: [this.#postfix(this.#primary())] };
    }
    const test: Expression = { kind: 'test', object, name, ...call };
    return isNegated ? { kind: 'unary', operator: 'not', operand: test } : test;
  }

  #dotted(): string {
    let name = this.expect('name').text;
    while (this.skip('operator', '.')) name += `.${this.expect('name').text}`;
    return name;
  }

  /** What is assigned to; `isLoop` leaves the `in` of a loop. */
  target(isLoop = false): Target {
    const targets = [this.#oneTarget(isLoop)];
    let isTuple = false;
    while (this.skip('operator', ',')) {
      isTuple = true;
      if (!this.is('name') && !this.is('operator', '(')) break;
      if (this.isName('in')) break;
      targets.push(this.#oneTarget(isLoop));
    }
    return isTuple ? { kind: 'tuple', targets } : targets[0];
  }

  #oneTarget(isLoop: boolean): Target {
    if (this.skip('operator', '(')) {
      const inner = this.nested(() => this.target(isLoop));
      this.expect('operator', ')');
      return inner;
    }
    const { text: name } = this.expect('name');
    if (CONSTANTS.has(name)) throw this.error(`'${name}' can't be assigned to`);
    if (isLoop || !this.skip('operator', '.')) return { kind: 'name', name };
    this.names.push(name);
    return { kind: 'namespace', name, attribute: this.expect('name').text };
  }
}
