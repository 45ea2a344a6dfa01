/**
 * @file Runs a template.
 */
import type { Call, Expression, MacroNode, Statement, Target } from './ast.ts';
import { Budget, type Limits } from './budget.ts';
import { JinjaError } from './errors.ts';
import { namedFilter } from './filters.ts';
import { RAW_FILTERS } from './list-filters.ts';
import { loopObject } from './loop.ts';
import { asCallable, attribute, binary, comparison, item, slice, unary } from './operators.ts';
import { TESTS } from './tests.ts';
import {
  Callable,
  isTrue,
  iterate,
  type Kwargs,
  keyOf,
  orUndefined,
  TemplateObject,
  tupleOf,
  Undefined,
  type Value,
} from './values.ts';
import { str } from './write.ts';

/** Names and their values; what a scope does not have, the one around it may. */
class Scope {
  readonly #values = new Map<string, Value>();
  readonly #outer: Scope | null;
  constructor(outer: Scope | null, values: Iterable<readonly [string, Value]> = []) {
    this.#outer = outer;
    for (const [name, value] of values) this.#values.set(name, value);
  }

  get(name: string): Value | undefined {
    for (let scope: Scope | null = this; scope; scope = scope.#outer) {
      const value = scope.#values.get(name);
      if (value !== undefined) return value;
    }
    return undefined;
  }

  set(name: string, value: Value): void {
    this.#values.set(name, value);
  }
}

/** How a body ended: by itself, or by a tag that ends or continues the loop around it. */
type End = 'end' | 'break' | 'continue';

export class Interpreter {
  readonly budget: Budget;
  /** Texts of what is being written: the output, and within it the texts of macros and blocks. */
  #out: string[] = [];

  constructor(limits: Limits) {
    this.budget = new Budget(limits);
  }

  render(body: readonly Statement[], globals: ReadonlyMap<string, Value>): string {
    return this.#capture(() => this.#run(body, new Scope(new Scope(null, globals))));
  }

  filter(name: string, value: Value, args: readonly Value[], kwargs: Kwargs): Value {
    const run = RAW_FILTERS.get(name) ?? namedFilter(name);
    if (!run) throw new JinjaError(`TemplateAssertionError: No filter named '${name}'.`);
    return run(value, args, kwargs, this);
  }

  test(name: string, value: Value, args: readonly Value[]): boolean {
    if (name === 'filter') return typeof value === 'string' && (RAW_FILTERS.has(value) || !!namedFilter(value));
    if (name === 'test') return typeof value === 'string' && TESTS.has(value);
    const run = TESTS.get(name);
    if (!run) throw new JinjaError(`TemplateAssertionError: No test named '${name}'.`);
    return run(value, args);
  }

  /** The text that something writes. */
  #capture(write: () => void): string {
    const outer = this.#out;
    this.#out = [];
    try {
      write();
      return this.budget.text(this.#out.join(''));
    } finally {
      this.#out = outer;
    }
  }

  #write(text: string): void {
    this.budget.spend(text.length);
    this.#out.push(text);
  }

  #run(body: readonly Statement[], scope: Scope): End {
    for (const statement of body) {
      this.budget.step();
      const end = this.#statement(statement, scope);
      if (end !== 'end') return end;
    }
    return 'end';
  }

  #statement(node: Statement, scope: Scope): End {
    switch (node.kind) {
      case 'data':
        this.#write(node.text);
        break;
      case 'output':
        this.#write(str(this.#value(node.value, scope)));
        break;
      case 'if': {
        const branch = node.branches.find(({ test }) => isTrue(this.#value(test, scope)));
        return this.#run(branch ? branch.body : node.otherwise, scope);
      }
      case 'for':
        this.#for(node, this.#value(node.items, scope), scope, 0);
        break;
      case 'break':
      case 'continue':
        return node.kind;
      case 'set':
        this.#assign(node.target, this.#value(node.value, scope), scope);
        break;
      case 'set-block': {
        const text = this.#capture(() => this.#run(node.body, new Scope(scope)));
        this.#assign(node.target, node.filter ? this.#filtered(node.filter, text, scope) : text, scope);
        break;
      }
      case 'macro':
        scope.set(node.name, this.#macro(node, scope));
        break;
      case 'call-block': {
        const caller = this.#macro(node.macro, scope);
        this.#write(str(this.#call(node.call, scope, [['caller', caller]])));
        break;
      }
      case 'filter-block': {
        const text = this.#capture(() => this.#run(node.body, new Scope(scope)));
        this.#write(str(this.#filtered(node.filter, text, scope)));
        break;
      }
      case 'with': {
        const values = node.assignments.map(([target, value]) => [target, this.#value(value, scope)] as const);
        const inner = new Scope(scope);
        for (const [target, value] of values) this.#assign(target, value, inner);
        return this.#run(node.body, inner);
      }
      case 'scope':
        return this.#run(node.body, new Scope(scope));
    }
    return 'end';
  }

  #for(node: Statement & { kind: 'for' }, source: Value, scope: Scope, depth: number): void {
    let items = iterate(source);
    if (node.filter) {
      const { filter } = node;
      items = items.filter((value) => {
        this.budget.step();
        const inner = new Scope(scope);
        this.#assign(node.target, value, inner);
        return isTrue(this.#value(filter, inner));
      });
    }
    if (items.length === 0) {
      this.#run(node.otherwise, new Scope(scope));
      return;
    }
    const again = (inner: Value): string =>
      this.budget.within(() => this.#capture(() => this.#for(node, inner, scope, depth + 1)));
    const loop = loopObject(items, depth, node.recursive ? again : null);
    for (let i = 0; i < items.length; i++) {
      this.budget.step();
      loop.go(i);
      const inner = new Scope(scope, [['loop', loop.object]]);
      this.#assign(node.target, items[i], inner);
      if (this.#run(node.body, inner) === 'break') return;
    }
  }

  #assign(target: Target, value: Value, scope: Scope): void {
    if (target.kind === 'name') scope.set(target.name, value);
    else if (target.kind === 'namespace') {
      const namespace = scope.get(target.name);
      if (!(namespace instanceof TemplateObject && namespace.type === 'Namespace'))
        throw new JinjaError('TemplateRuntimeError: cannot assign attribute on non-namespace object');
      namespace.attributes.set(target.attribute, value);
    } else {
      const values = iterate(value);
      if (values.length !== target.targets.length)
        throw new JinjaError(`ValueError: ${values.length} values for ${target.targets.length} names`);
      target.targets.forEach((one, i) => {
        this.#assign(one, values[i], scope);
      });
    }
  }

  #macro(node: MacroNode, scope: Scope): Callable {
    return new Callable(node.name, (args, kwargs) =>
      this.budget.within(() => {
        const inner = new Scope(scope);
        this.#bind(node, args, kwargs, inner);
        return this.#capture(() => this.#run(node.body, inner));
      }),
    );
  }

  #bind(node: MacroNode, args: readonly Value[], kwargs: Kwargs, inner: Scope): void {
    const rest = new Map(kwargs);
    const caller = rest.get('caller');
    rest.delete('caller');
    for (const [i, { name, fallback }] of node.params.entries()) {
      const given = i < args.length ? args[i] : rest.get(name);
      if (i < args.length && rest.has(name))
        throw new JinjaError(`TypeError: macro '${node.name}' got two values for '${name}'`);
      rest.delete(name);
      const missing = () => new Undefined(`UndefinedError: parameter '${name}' was not provided`);
      inner.set(name, given === undefined ? (fallback ? this.#value(fallback, inner) : missing()) : given);
    }
    if (node.takesCaller) inner.set('caller', orUndefined(caller, 'No caller defined'));
    else if (caller !== undefined) throw new JinjaError(`TypeError: macro '${node.name}' takes no caller`);
    if (node.takesVarargs) inner.set('varargs', tupleOf(...args.slice(node.params.length)));
    else if (args.length > node.params.length)
      throw new JinjaError(`TypeError: macro '${node.name}' takes not more than ${node.params.length} argument(s)`);
    if (node.takesKwargs) inner.set('kwargs', new Map<Value, Value>(rest));
    else if (rest.size > 0)
      throw new JinjaError(`TypeError: macro '${node.name}' takes no keyword argument '${[...rest.keys()][0]}'`);
  }

  #filtered(filter: Expression, text: string, scope: Scope): Value {
    if (filter.kind !== 'filter') return text;
    const value = filter.object ? this.#filtered(filter.object, text, scope) : text;
    const { args, kwargs } = this.#arguments(filter, scope);
    return this.filter(filter.name, value, args, kwargs);
  }

  #arguments(call: Call, scope: Scope): { readonly args: Value[]; readonly kwargs: Map<string, Value> } {
    const args = call.args.map((arg) => this.#value(arg, scope));
    if (call.spread) args.push(...iterate(this.#value(call.spread, scope)));
    const kwargs = new Map(call.kwargs.map(([name, value]) => [name, this.#value(value, scope)]));
    const more = call.spreadKwargs ? this.#value(call.spreadKwargs, scope) : null;
    if (more instanceof Map) for (const [key, value] of more) kwargs.set(str(key), value);
    return { args, kwargs };
  }

  #call(node: Expression, scope: Scope, more: readonly (readonly [string, Value])[] = []): Value {
    if (node.kind !== 'call') return this.#value(node, scope);
    const callee = asCallable(this.#value(node.callee, scope));
    const { args, kwargs } = this.#arguments(node, scope);
    for (const [name, value] of more) kwargs.set(name, value);
    return callee.call(args, kwargs);
  }

  #value(node: Expression, scope: Scope): Value {
    this.budget.step();
    switch (node.kind) {
      case 'constant':
        return node.value;
      case 'name':
        return orUndefined(scope.get(node.name), `'${node.name}' is undefined`);
      case 'list':
        return node.items.map((one) => this.#value(one, scope));
      case 'tuple':
        return tupleOf(...node.items.map((one) => this.#value(one, scope)));
      case 'dict':
        return new Map(node.entries.map(([key, one]) => [keyOf(this.#value(key, scope)), this.#value(one, scope)]));
      case 'attribute':
        return attribute(this.#value(node.object, scope), node.name, this.budget);
      case 'item':
        return item(this.#value(node.object, scope), this.#value(node.index, scope), this.budget);
      case 'slice': {
        const bounds = [node.start, node.stop, node.step].map((bound) => (bound ? this.#value(bound, scope) : null));
        return slice(this.#value(node.object, scope), bounds, this.budget);
      }
      case 'call':
        return this.#call(node, scope);
      case 'filter': {
        const value = this.#value(node.object!, scope);
        const { args, kwargs } = this.#arguments(node, scope);
        return this.filter(node.name, value, args, kwargs);
      }
      case 'test':
        return this.test(node.name, this.#value(node.object, scope), this.#arguments(node, scope).args);
      case 'unary': {
        const operand = this.#value(node.operand, scope);
        return node.operator === 'not' ? !isTrue(operand) : unary(node.operator, operand);
      }
      case 'binary':
        return binary(node.operator, this.#value(node.left, scope), this.#value(node.right, scope), this.budget);
      case 'and':
      case 'or': {
        const left = this.#value(node.left, scope);
        return isTrue(left) === (node.kind === 'and') ? this.#value(node.right, scope) : left;
      }
      case 'join':
        return this.budget.text(node.items.map((one) => str(this.#value(one, scope))).join(''));
      case 'compare': {
        let left = this.#value(node.first, scope);
        for (const [operator, operand] of node.rest) {
          const right = this.#value(operand, scope);
          this.budget.step(typeof right === 'string' || Array.isArray(right) ? Math.ceil(right.length / 16) : 1);
          if (!comparison(operator, left, right)) return false;
          left = right;
        }
        return true;
      }
      case 'condition':
        if (isTrue(this.#value(node.test, scope))) return this.#value(node.value, scope);
        return node.otherwise
          ? this.#value(node.otherwise, scope)
          : new Undefined(
              'UndefinedError: the inline if-expression evaluated to false and no else section was defined.',
            );
    }
  }
}
