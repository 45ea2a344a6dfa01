/**
 * @file What follows `is`.
 */
import { JinjaError } from './errors.ts';
import {
  Callable,
  compare,
  contains,
  equals,
  isFloat,
  isInteger,
  isNumeric,
  Lazy,
  numberOf,
  Undefined,
  type Value,
} from './values.ts';
import { str } from './write.ts';

export type Test = (value: Value, args: readonly Value[]) => boolean;

function argument(args: readonly Value[]): Value {
  if (args.length === 0) throw new JinjaError('TypeError: the test needs something to compare with');
  return args[0];
}

const isIterable = (value: Value): boolean =>
  typeof value === 'string' ||
  Array.isArray(value) ||
  value instanceof Map ||
  value instanceof Lazy ||
  value instanceof Undefined;
const isEqual: Test = (value, args) => equals(value, argument(args));
const isUnequal: Test = (value, args) => !equals(value, argument(args));
const isLess: Test = (value, args) => compare(value, argument(args)) < 0;
const isAtMost: Test = (value, args) => compare(value, argument(args)) <= 0;
const isGreater: Test = (value, args) => compare(value, argument(args)) > 0;
const isAtLeast: Test = (value, args) => compare(value, argument(args)) >= 0;

export const TESTS: ReadonlyMap<string, Test> = new Map<string, Test>(
  Object.entries({
    defined: (value) => !(value instanceof Undefined),
    undefined: (value) => value instanceof Undefined,
    none: (value) => value === null,
    boolean: (value) => typeof value === 'boolean',
    true: (value) => value === true,
    false: (value) => value === false,
    string: (value) => typeof value === 'string',
    number: (value) => isNumeric(value),
    integer: (value) => isInteger(value),
    float: (value) => isFloat(value),
    mapping: (value) => value instanceof Map,
    sequence: (value) =>
      typeof value === 'string' || Array.isArray(value) || value instanceof Map || value instanceof Undefined,
    iterable: isIterable,
    callable: (value) => value instanceof Callable,
    odd: (value) => Math.abs(numberOf(value) % 2) === 1,
    even: (value) => numberOf(value) % 2 === 0,
    divisibleby: (value, args) => numberOf(value) % numberOf(argument(args)) === 0,
    lower: (value) => str(value) === str(value).toLowerCase() && /\p{L}/u.test(str(value)),
    upper: (value) => str(value) === str(value).toUpperCase() && /\p{L}/u.test(str(value)),
    sameas: (value, args) => value === argument(args),
    in: (value, args) => contains(argument(args), value),
    escaped: () => false,
    eq: isEqual,
    equalto: isEqual,
    '==': isEqual,
    ne: isUnequal,
    '!=': isUnequal,
    lt: isLess,
    lessthan: isLess,
    '<': isLess,
    le: isAtMost,
    '<=': isAtMost,
    gt: isGreater,
    greaterthan: isGreater,
    '>': isGreater,
    ge: isAtLeast,
    '>=': isAtLeast,
  } satisfies Record<string, Test>),
);
