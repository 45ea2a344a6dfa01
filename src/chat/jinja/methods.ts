/**
 * @file Methods of lists and dicts. Those that change them are refused, as by transformers' sandbox.
 */
import { Arguments } from './arguments.ts';
import { JinjaError } from './errors.ts';
import { Callable, type Dict, equals, type Kwargs, keyOf, tupleOf, type Value } from './values.ts';
import { repr } from './write.ts';

type Method<T> = (self: T, args: Arguments) => Value;
type Methods<T> = Readonly<Record<string, readonly [names: readonly string[], run: Method<T>]>>;

const LIST_CHANGES = ['append', 'clear', 'extend', 'insert', 'pop', 'remove', 'reverse', 'sort'];
const DICT_CHANGES = ['clear', 'pop', 'popitem', 'setdefault', 'update'];

const LIST: Methods<Value[]> = {
  index: [
    ['value', 'start', 'stop'],
    (list, args) => {
      const stop = args.int('stop', list.length);
      for (let i = args.int('start', 0); i < stop; i++) if (equals(list[i], args.need('value'))) return i;
      throw new JinjaError(`ValueError: ${repr(args.need('value'))} is not in list`);
    },
  ],
  count: [['value'], (list, args) => list.filter((item) => equals(item, args.need('value'))).length],
  copy: [[], (list) => [...list]],
};

const DICT: Methods<Dict> = {
  get: [
    ['key', 'default'],
    (dict, args) => (dict.has(keyOf(args.need('key'))) ? dict.get(keyOf(args.need('key')))! : args.get('default')),
  ],
  items: [[], (dict) => [...dict].map(([key, value]) => tupleOf(key, value))],
  keys: [[], (dict) => [...dict.keys()]],
  values: [[], (dict) => [...dict.values()]],
  copy: [[], (dict) => new Map(dict)],
};

export const listMethod = (list: Value[], name: string): Callable | undefined => method(LIST, LIST_CHANGES, list, name);
export const dictMethod = (dict: Dict, name: string): Callable | undefined => method(DICT, DICT_CHANGES, dict, name);

function method<T>(methods: Methods<T>, changes: readonly string[], self: T, name: string): Callable | undefined {
  if (Object.hasOwn(methods, name)) {
    const [names, run] = methods[name];
    return new Callable(name, (args, kwargs: Kwargs) => run(self, new Arguments(name, names, args, kwargs)));
  }
  if (!changes.includes(name)) return undefined;
  return new Callable(name, () => {
    throw new JinjaError(`SecurityError: ${name}() would change a value, which templates may not`);
  });
}
