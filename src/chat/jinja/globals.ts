/**
 * @file Functions that every template has.
 */
import { Arguments } from './arguments.ts';
import type { Budget } from './budget.ts';
import { JinjaError, RaisedError } from './errors.ts';
import { strftime } from './strftime.ts';
import { Callable, iterate, type Kwargs, numberOf, TemplateObject, type Value } from './values.ts';
import { str } from './write.ts';

export function globals(budget: Budget): Map<string, Value> {
  const functions: Record<string, (args: readonly Value[], kwargs: Kwargs) => Value> = {
    range: (args) =>
      range(
        args.map((arg) => Math.trunc(numberOf(arg))),
        budget,
      ),
    dict,
    namespace: (args, kwargs) => {
      const attributes = new Map([...dict(args, kwargs)].map(([key, value]) => [str(key), value]));
      return new TemplateObject('Namespace', attributes);
    },
    cycler: (args) => cycler(args),
    joiner: (args, kwargs) => {
      const separator = new Arguments('joiner', ['sep'], args, kwargs).text('sep', ', ');
      let isUsed = false;
      const next = new Callable('joiner', () => {
        const text = isUsed ? separator : '';
        isUsed = true;
        return text;
      });
      return new TemplateObject('Joiner', [['__call__', next]]);
    },
    raise_exception: ([message]) => {
      throw new RaisedError(str(message ?? ''));
    },
    strftime_now: ([format]) => strftime(new Date(), str(format ?? '')),
    lipsum: () => {
      throw new JinjaError('lipsum() writes random text and is not supported');
    },
  };
  return new Map(Object.entries(functions).map(([name, call]) => [name, new Callable(name, call)]));
}

function range(bounds: readonly number[], budget: Budget): Value {
  const [start, stop, step] = bounds.length === 1 ? [0, bounds[0], 1] : [bounds[0], bounds[1], bounds[2] ?? 1];
  if (stop === undefined || step === 0) throw new JinjaError('TypeError: range() takes 1 to 3 ints, and no step of 0');
  const length = Math.max(0, Math.ceil((stop - start) / step));
  budget.range(length);
  return Array.from({ length }, (_, i) => start + i * step);
}

function dict(args: readonly Value[], kwargs: Kwargs): Map<Value, Value> {
  const made = new Map<Value, Value>();
  for (const arg of args) {
    const pairs = arg instanceof Map ? [...arg] : iterate(arg).map((pair) => iterate(pair));
    for (const [key, value] of pairs) made.set(key, value);
  }
  for (const [key, value] of kwargs) made.set(key, value);
  return made;
}

function cycler(items: readonly Value[]): TemplateObject {
  if (items.length === 0) throw new JinjaError('RuntimeError: at least one item has to be provided');
  let at = 0;
  const object = new TemplateObject('Cycler');
  const go = (index: number): Value => {
    const current = items[at];
    at = index % items.length;
    object.attributes.set('current', items[at]);
    return current;
  };
  object.attributes.set('current', items[0]);
  object.attributes.set('next', new Callable('next', () => go(at + 1)));
  object.attributes.set(
    'reset',
    new Callable('reset', () => {
      go(0);
      return null;
    }),
  );
  return object;
}
