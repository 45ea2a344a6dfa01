/**
 * @file Objects: properties in the order of the schema, then others.
 */
import { FormatError } from '../../util/errors.ts';
import type { Item } from '../machine.ts';
import type { Term } from '../terms/terms.ts';
import type { Form, Goal } from './form.ts';
import { LazyNode, type NodeSource, restIn, type Value } from './node-types.ts';

/** Sets of patterns that names may match are tried one by one. */
const MAX_PATTERNS = 6;

interface NamedProperty {
  readonly key: Term;
  readonly value: Value | null;
  readonly required: boolean;
}

/** Properties without a name in the schema. */
interface OtherProperties {
  readonly keys: Term;
  readonly value: Value;
}

export class ObjectSpec {
  readonly named: readonly NamedProperty[];
  readonly others: readonly OtherProperties[];
  readonly min: number;
  readonly max: number;
  /** Nodes of the rest by their state. */
  readonly rests = new Map<number, ObjectRest>();

  constructor(nodes: NodeSource, form: Form) {
    const { forms, separators } = nodes;
    const { terms } = forms.keywords;
    const names = new Set([...form.objects.flatMap(({ properties }) => [...properties.keys()]), ...form.required]);
    for (const name of form.forbidden) names.add(name);
    this.named = [...names].map((name) => {
      const allowed = !form.forbidden.has(name);
      return {
        key: terms.concat(terms.text(JSON.stringify(name)), separators.colon),
        value: allowed ? nodes.value(forms.propertyGoal(form, name)) : null,
        required: form.required.has(name),
      };
    });
    this.others = otherProperties(nodes, form, [...names]);
    this.min = form.minProperties;
    this.max = form.maxProperties;
    // Other properties may be written twice, and count once.
    if (this.others.length > 0 && this.min > form.required.size + 1)
      throw new FormatError(
        `format.schema: minProperties ${this.min} can't be enforced beside additional properties; require them by name`,
      );
  }

  /** Whether there is an object of this kind, as far as is known. */
  isProductive(): boolean {
    let possible = this.others.some(({ value }) => value.productive) ? Number.POSITIVE_INFINITY : 0;
    let required = 0;
    for (const property of this.named) {
      const productive = property.value?.productive ?? false;
      if (property.required) required++;
      if (property.required && !productive) return false;
      if (productive) possible++;
    }
    return required <= this.max && possible >= this.min;
  }
}

/** From the opening bracket. */
export function objectRest(nodes: NodeSource, spec: ObjectSpec): readonly Item[] {
  const { terms } = nodes.forms.keywords;
  return [terms.concat(terms.text('{'), nodes.separators.inside), restOf(nodes, spec, 0, 0)];
}

function restOf(nodes: NodeSource, spec: ObjectSpec, index: number, count: number): ObjectRest {
  // Beyond what a limit asks for, counts make no difference.
  const most = Number.isFinite(spec.max) ? spec.max : Math.max(spec.min, 1);
  const counted = Math.min(count, most);
  return restIn(spec.rests, index * 0x1000000 + counted, () => new ObjectRest(nodes, spec, index, counted));
}

/** What may follow after some properties. */
class ObjectRest extends LazyNode {
  readonly #nodes: NodeSource;
  readonly #spec: ObjectSpec;
  readonly #index: number;
  readonly #count: number;

  constructor(nodes: NodeSource, spec: ObjectSpec, index: number, count: number) {
    super(nodes);
    this.#nodes = nodes;
    this.#spec = spec;
    this.#index = index;
    this.#count = count;
  }

  protected make(): readonly (readonly Item[])[] {
    const nodes = this.#nodes;
    const { terms } = nodes.forms.keywords;
    const { comma, inside } = nodes.separators;
    const { named, others, min, max } = this.#spec;
    const out: (readonly Item[])[] = [];
    const count = this.#count;
    const before = count === 0 ? terms.empty : comma;
    const add = (key: Term, value: Value, index: number) =>
      out.push([terms.concat(before, key), value, restOf(nodes, this.#spec, index, count + 1)]);
    /** Whether so many properties can still come, of those from an index on. */
    const canReach = (index: number, written: number) =>
      others.some(({ value }) => value.productive) ||
      written + named.slice(index).filter(({ value }) => value?.productive).length >= min;
    const needed = (index: number) => named.slice(index).filter(({ required }) => required).length;
    let index = this.#index;
    for (; index < named.length; index++) {
      const { key, value, required } = named[index];
      if (value?.productive && count + 1 + needed(index + 1) <= max && canReach(index + 1, count + 1))
        add(key, value, index + 1);
      if (required) return out;
    }
    if (count < max)
      for (const { keys, value } of others)
        if (value.productive) add(terms.concat(keys, nodes.separators.colon), value, index);
    if (count >= min) out.push([terms.concat(inside, terms.text('}'))]);
    return out;
  }
}

/** By which patterns their names match. */
function otherProperties(nodes: NodeSource, form: Form, names: readonly string[]): readonly OtherProperties[] {
  const { forms } = nodes;
  const { terms, anyString } = forms.keywords;
  const unnamed =
    names.length === 0 ? anyString : terms.and(anyString, terms.not(forms.keywords.literalStrings(names)));
  const patterns = [...new Set(form.objects.flatMap(({ patterns }) => patterns.map(({ names }) => names)))];
  const sets = subsets(nodes, unnamed, patterns);
  return sets.flatMap(({ keys, matched }) => {
    const goal: Goal = form.objects.flatMap(({ patterns, others }) => {
      const own = patterns.filter(({ names }) => matched.has(names));
      return own.length === 0 ? others : own.flatMap(({ goal }) => goal);
    });
    if (goal.some(({ schema, negated }) => schema === negated)) return [];
    return [{ keys, value: nodes.value(goal) }];
  });
}

/** The names that match some patterns and no others, for all sets of patterns that some name matches. */
function subsets(nodes: NodeSource, unnamed: Term, patterns: readonly Term[]) {
  const { terms } = nodes.forms.keywords;
  if (patterns.length > MAX_PATTERNS * 4)
    throw new FormatError(`format.schema: more than ${MAX_PATTERNS * 4} patternProperties can't be enforced together`);
  let sets = [{ keys: unnamed, matched: new Set<Term>() }];
  for (const pattern of patterns) {
    sets = sets.flatMap(({ keys, matched }) => {
      const within = { keys: terms.prune(terms.and(keys, pattern)), matched: new Set([...matched, pattern]) };
      const without = { keys: terms.prune(terms.and(keys, terms.not(pattern))), matched };
      return [within, without].filter(({ keys }) => keys.kind !== 'none');
    });
    if (sets.length > 2 ** MAX_PATTERNS)
      throw new FormatError("format.schema: patternProperties that overlap in too many ways can't be enforced");
  }
  return sets;
}
