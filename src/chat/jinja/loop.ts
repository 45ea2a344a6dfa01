/**
 * @file The object `loop` of a loop.
 */
import { JinjaError } from './errors.ts';
import { Callable, equals, orUndefined, TemplateObject, type Value } from './values.ts';

/** A loop over items. `again` runs it over others, where it is recursive. */
export function loopObject(
  items: readonly Value[],
  depth: number,
  again: ((items: Value) => string) | null,
): { readonly object: TemplateObject; go(index: number): void } {
  let at = 0;
  let last: readonly Value[] | null = null;
  const cycle = new Callable('cycle', (values) => {
    if (values.length === 0) throw new JinjaError('TypeError: no items for cycling given');
    return values[at % values.length];
  });
  const changed = new Callable('changed', (values) => {
    const isSame = last !== null && equals([...last], [...values]);
    last = values;
    return !isSame;
  });
  const call = new Callable('loop', ([inner]) => {
    if (!again) throw new JinjaError("TypeError: The loop must have the 'recursive' marker to be called recursively.");
    return again(inner);
  });
  const object = new TemplateObject('LoopContext', [
    ['length', items.length],
    ['depth', depth + 1],
    ['depth0', depth],
    ['cycle', cycle],
    ['changed', changed],
    ['__call__', call],
  ]);
  const { attributes } = object;
  const go = (index: number): void => {
    at = index;
    attributes.set('index', index + 1);
    attributes.set('index0', index);
    attributes.set('revindex', items.length - index);
    attributes.set('revindex0', items.length - index - 1);
    attributes.set('first', index === 0);
    attributes.set('last', index === items.length - 1);
    attributes.set('previtem', orUndefined(items[index - 1], 'there is no previous item'));
    attributes.set('nextitem', orUndefined(items[index + 1], 'there is no next item'));
  };
  return { object, go };
}
