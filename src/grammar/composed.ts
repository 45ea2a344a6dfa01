/**
 * @file Nodes of formats that are made of other formats.
 */
import type { Item, Node } from './machine.ts';

/** Numbers of the nodes of a grammar. */
export class NodeIds {
  #next = 0;

  next(): number {
    return this.#next++;
  }
}

/** Stands for one of some sequences. */
class Alternatives implements Node {
  readonly id: number;
  readonly #make: () => readonly (readonly Item[])[];
  #made: readonly (readonly Item[])[] | null = null;

  constructor(ids: NodeIds, make: () => readonly (readonly Item[])[]) {
    this.id = ids.next();
    this.#make = make;
  }

  alternatives(): readonly (readonly Item[])[] {
    this.#made ??= this.#make();
    return this.#made;
  }
}

export function choiceOf(ids: NodeIds, sequences: readonly (readonly Item[])[]): Item {
  return new Alternatives(ids, () => sequences);
}

/**
 * An item again and again.
 * @param max may be infinite.
 */
export function repeatOf(ids: NodeIds, item: Item, separator: Item | null, min: number, max: number): Item {
  /** After so many of them. Without bounds ahead, one node stands for all further ones. */
  const rest = (count: number): Item => {
    const next = (): Item => (count >= Math.max(min, 1) && max === Number.POSITIVE_INFINITY ? node : rest(count + 1));
    const node: Item = new Alternatives(ids, () => [
      ...(count >= min ? [[]] : []),
      ...(count < max ? [[...(separator && count > 0 ? [separator] : []), item, next()]] : []),
    ]);
    return node;
  };
  return rest(0);
}
