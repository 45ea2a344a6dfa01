/**
 * @file Python's operators, attributes, items and slices.
 */
import type { Budget } from './budget.ts';
import { JinjaError } from './errors.ts';
import { formatPercent } from './format.ts';
import { dictMethod, listMethod } from './methods.ts';
import { stringMethod } from './string-methods.ts';
import {
  Callable,
  compare,
  contains,
  equals,
  floatValue,
  hasPairs,
  isFloat,
  isInteger,
  isNumeric,
  keyOf,
  numberOf,
  TemplateObject,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.ts';
import { repr } from './write.ts';

export function binary(operator: string, left: Value, right: Value, budget: Budget): Value {
  if (left instanceof Undefined) left.fail();
  if (operator === '%' && typeof left === 'string') return budget.text(formatPercent(left, right));
  if (right instanceof Undefined) right.fail();
  if (isNumeric(left) && isNumeric(right)) return arithmetic(operator, left, right);
  if (operator === '+') {
    if (typeof left === 'string' && typeof right === 'string') return budget.text(left + right);
    if (Array.isArray(left) && Array.isArray(right) && left instanceof Tuple === right instanceof Tuple) {
      budget.step(left.length + right.length);
      return left.concat(right);
    }
  }
  if (operator === '*') {
    if (isInteger(right)) return repeat(left, right, budget);
    if (isInteger(left)) return repeat(right, left, budget);
  }
  throw new JinjaError(
    `TypeError: unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`,
  );
}

function repeat(value: Value, count: number, budget: Budget): Value {
  const times = Math.max(0, count);
  if (typeof value === 'string') {
    budget.spend(value.length * times);
    return value.repeat(times);
  }
  if (!Array.isArray(value)) throw new JinjaError(`TypeError: can't multiply a ${typeName(value)} by an int`);
  budget.range(value.length * times);
  const items: Value[] = value instanceof Tuple ? new Tuple() : [];
  for (let i = 0; i < times; i++) items.push(...value);
  return items;
}

function arithmetic(operator: string, left: Value, right: Value): Value {
  const [a, b] = [numberOf(left), numberOf(right)];
  const result = (value: number): Value => (isFloat(left) || isFloat(right) ? floatValue(value) : value);
  if (b === 0 && ['/', '//', '%'].includes(operator)) throw new JinjaError('ZeroDivisionError: division by zero');
  switch (operator) {
    case '+':
      return result(a + b);
    case '-':
      return result(a - b);
    case '*':
      return result(a * b);
    case '/':
      return floatValue(a / b);
    case '//':
      return result(Math.floor(a / b));
    case '%':
      return result(a - b * Math.floor(a / b));
  }
  return b < 0 ? floatValue(a ** b) : result(a ** b);
}

export function unary(operator: '-' | '+', operand: Value): Value {
  const value = numberOf(operand);
  const signed = operator === '-' ? -value : value;
  return isFloat(operand) ? floatValue(signed) : signed === 0 ? 0 : signed;
}

export function comparison(operator: string, left: Value, right: Value): boolean {
  switch (operator) {
    case '==':
      return equals(left, right);
    case '!=':
      return !equals(left, right);
    case 'in':
      return contains(right, left);
    case 'not in':
      return !contains(right, left);
    case '<':
      return compare(left, right) < 0;
    case '<=':
      return compare(left, right) <= 0;
    case '>':
      return compare(left, right) > 0;
  }
  return compare(left, right) >= 0;
}

/** `object.name`: an attribute before an item. */
export function attribute(object: Value, name: string, budget: Budget): Value {
  if (object instanceof Undefined) object.fail();
  const own = ownAttribute(object, name, budget);
  const found = own === undefined ? ownItem(object, name) : own;
  return found === undefined ? missing(object, name) : found;
}

/** `object[index]`: an item before an attribute. */
export function item(object: Value, index: Value, budget: Budget): Value {
  if (object instanceof Undefined) object.fail();
  if (index instanceof Undefined) return missing(object, index);
  const found = ownItem(object, index);
  if (found !== undefined) return found;
  const own = typeof index === 'string' ? ownAttribute(object, index, budget) : undefined;
  return own === undefined ? missing(object, index) : own;
}

function ownAttribute(object: Value, name: string, budget: Budget): Value | undefined {
  if (object instanceof TemplateObject) return object.attributes.get(name);
  if (typeof object === 'string') return stringMethod(object, name, budget);
  if (object instanceof Map) return dictMethod(object, name);
  return Array.isArray(object) ? listMethod(object, name) : undefined;
}

function ownItem(object: Value, index: Value): Value | undefined {
  // A list or dict is never a key; jinja2 takes the TypeError for a key that is not there.
  if (object instanceof Map) return Array.isArray(index) || index instanceof Map ? undefined : object.get(keyOf(index));
  const at = typeof index === 'boolean' ? Number(index) : index;
  if (!isInteger(at)) return undefined;
  if (Array.isArray(object)) return object.at(at);
  if (typeof object !== 'string') return undefined;
  return hasPairs(object) ? Array.from(object).at(at) : object.at(at);
}

function missing(object: Value, name: Value): Undefined {
  const what = object === null ? 'None' : `'${typeName(object)} object'`;
  return new Undefined(`UndefinedError: ${what} has no attribute ${repr(name)}`);
}

export function slice(object: Value, bounds: readonly (Value | null)[], budget: Budget): Value {
  if (object instanceof Undefined) object.fail();
  if (typeof object !== 'string' && !Array.isArray(object))
    return new Undefined(`UndefinedError: '${typeName(object)} object' has no slices`);
  const isPlain = typeof object === 'string' && !hasPairs(object);
  const items = typeof object === 'string' ? (isPlain ? object : Array.from(object)) : object;
  const [from, to, by] = bounds.map((bound) => (bound === null ? null : Math.trunc(numberOf(bound))));
  const step = by ?? 1;
  if (step === 0) throw new JinjaError('ValueError: slice step cannot be zero');
  const { length } = items;
  const clamp = (value: number | null, fallback: number): number => {
    if (value === null) return fallback;
    const at = value < 0 ? value + length : value;
    return Math.min(Math.max(at, step < 0 ? -1 : 0), step < 0 ? length - 1 : length);
  };
  const start = clamp(from, step < 0 ? length - 1 : 0);
  const stop = clamp(to, step < 0 ? -1 : length);
  budget.step(Math.ceil(Math.abs(stop - start) / 16));
  if (step === 1 && isPlain) return object.slice(start, Math.max(start, stop));
  const picked: Value[] = object instanceof Tuple ? new Tuple() : [];
  for (let i = start; step > 0 ? i < stop : i > stop; i += step) picked.push(items[i]);
  return typeof object === 'string' ? picked.join('') : picked;
}

/** @throws JinjaError for what can't be called. */
export function asCallable(value: Value): Callable {
  if (value instanceof Undefined) value.fail();
  if (value instanceof Callable) return value;
  const inner = value instanceof TemplateObject ? value.attributes.get('__call__') : undefined;
  if (inner instanceof Callable) return inner;
  throw new JinjaError(`TypeError: '${typeName(value)}' object is not callable`);
}

/** Used by filters that look up `a.b.0`. */
export function lookUp(object: Value, path: Value, budget: Budget): Value {
  if (typeof path !== 'string') return item(object, path, budget);
  let value = object;
  for (const part of path.split('.')) value = item(value, /^\d+$/.test(part) ? Number(part) : part, budget);
  return value;
}
