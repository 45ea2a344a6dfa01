/**
 * @file Arrays: first items with schemas of their own, then others.
 */
import { FormatError } from '../../util/errors.ts';
import type { Item } from '../machine.ts';
import type { Form, Goal } from './form.ts';
import { LazyNode, type NodeSource, restIn, type Value } from './node-types.ts';

/** First items that have a node each. */
const MAX_FIRST = 10_000;

export class ArraySpec {
  readonly first: readonly Value[];
  readonly others: Value;
  /** The same items, where they satisfy `contains`; null: nothing is asked for. */
  readonly wanted: { readonly first: readonly Value[]; readonly others: Value } | null;
  readonly min: number;
  readonly #max: number;
  /** Nodes of the rest by their state. */
  readonly rests = new Map<number, ArrayRest>();

  constructor(nodes: NodeSource, form: Form) {
    const { arrays, contains } = form;
    const length = Math.max(0, ...arrays.map(({ first }) => first.length));
    if (length > MAX_FIRST)
      throw new FormatError(`format.schema: more than ${MAX_FIRST} prefixItems are not supported`);
    if (contains.length > 1)
      throw new FormatError("format.schema: more than one contains of an array can't be enforced");
    const goalAt = (index: number): Goal => arrays.flatMap(({ first, others }) => first[index] ?? others);
    const indices = Array.from({ length }, (_, index) => index);
    this.first = indices.map((index) => nodes.value(goalAt(index)));
    this.others = nodes.value(goalAt(length));
    this.wanted =
      contains.length === 0
        ? null
        : {
            first: indices.map((index) => nodes.value([...goalAt(index), ...contains[0]])),
            others: nodes.value([...goalAt(length), ...contains[0]]),
          };
    this.min = form.minItems;
    this.#max = form.maxItems;
  }

  /** Most items, as far as there are values for them. */
  get max(): number {
    const missing = this.first.findIndex((node) => !node.productive);
    const possible = missing >= 0 ? missing : this.others.productive ? Number.POSITIVE_INFINITY : this.first.length;
    return Math.min(this.#max, possible);
  }

  item(index: number): Value {
    return this.first[index] ?? this.others;
  }

  wantedItem(index: number): Value | null {
    return this.wanted ? (this.wanted.first[index] ?? this.wanted.others) : null;
  }

  /** Whether an item that is asked for can still come, at an index or later. */
  canSatisfy(from: number): boolean {
    const { max } = this;
    for (let index = from; index < Math.min(max, this.first.length); index++)
      if (this.wantedItem(index)!.productive) return true;
    return Math.max(from, this.first.length) < max && this.wanted!.others.productive;
  }

  isProductive(): boolean {
    return this.min <= this.max && (!this.wanted || this.canSatisfy(0));
  }
}

/** From the opening bracket. */
export function arrayRest(nodes: NodeSource, spec: ArraySpec): readonly Item[] {
  const { terms } = nodes.forms.keywords;
  return [terms.concat(terms.text('['), nodes.separators.inside), restOf(nodes, spec, 0, spec.wanted === null)];
}

function restOf(nodes: NodeSource, spec: ArraySpec, index: number, satisfied: boolean): ArrayRest {
  const { max } = spec;
  // Beyond what is limited, the index makes no difference.
  const last = Math.max(1, spec.first.length, spec.min, Number.isFinite(max) ? max : 0);
  const capped = Math.min(index, last);
  return restIn(spec.rests, capped * 2 + Number(satisfied), () => new ArrayRest(nodes, spec, capped, satisfied));
}

/** What may follow after some items. */
class ArrayRest extends LazyNode {
  readonly #nodes: NodeSource;
  readonly #spec: ArraySpec;
  readonly #index: number;
  readonly #satisfied: boolean;

  constructor(nodes: NodeSource, spec: ArraySpec, index: number, satisfied: boolean) {
    super(nodes);
    this.#nodes = nodes;
    this.#spec = spec;
    this.#index = index;
    this.#satisfied = satisfied;
  }

  protected make(): readonly (readonly Item[])[] {
    const nodes = this.#nodes;
    const { terms } = nodes.forms.keywords;
    const spec = this.#spec;
    const index = this.#index;
    const before = index === 0 ? terms.empty : nodes.separators.comma;
    const out: (readonly Item[])[] = [];
    const add = (item: Value, satisfied: boolean) => {
      if (item.productive) out.push([before, item, restOf(nodes, spec, index + 1, satisfied)]);
    };
    if (index < spec.max) {
      if (this.#satisfied || spec.canSatisfy(index + 1)) add(spec.item(index), this.#satisfied);
      if (!this.#satisfied) add(spec.wantedItem(index)!, true);
    }
    if (index >= spec.min && this.#satisfied) out.push([terms.concat(nodes.separators.inside, terms.text(']'))]);
    return out;
  }
}
