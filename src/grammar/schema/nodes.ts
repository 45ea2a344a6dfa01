/**
 * @file Goals as nodes of the machine: values, the rests of objects and of arrays.
 */
import { FormatError } from '../../util/errors.ts';
import type { NodeIds } from '../composed.ts';
import type { Item } from '../machine.ts';
import { Numbers } from '../terms/numbers.ts';
import type { Term } from '../terms/terms.ts';
import { ArraySpec, arrayRest } from './arrays.ts';
import { ARRAY, FALSE, type Form, type Goal, NULL, NUMBER, numbersOf, OBJECT, STRING, TRUE } from './form.ts';
import type { Forms } from './forms.ts';
import { LazyNode, type NodeSource, type Separators, type Value } from './node-types.ts';
import { ObjectSpec, objectRest } from './objects.ts';

const MAX_GOALS = 20_000;

/** A value that satisfies a goal. */
class ValueNode extends LazyNode implements Value {
  /** Null, truth values, numbers, strings and listed values. */
  scalar: Term | null = null;
  objects: ObjectSpec[] = [];
  arrays: ArraySpec[] = [];
  /** Whether any value satisfies it. */
  productive = false;
  readonly #nodes: Nodes;

  constructor(nodes: Nodes) {
    super(nodes);
    this.#nodes = nodes;
  }

  protected make(): readonly (readonly Item[])[] {
    return [
      ...(this.scalar ? [[this.scalar]] : []),
      ...this.objects.filter((spec) => spec.isProductive()).map((spec) => objectRest(this.#nodes, spec)),
      ...this.arrays.filter((spec) => spec.isProductive()).map((spec) => arrayRest(this.#nodes, spec)),
    ];
  }

  /** Whether that is known now. */
  update(): boolean {
    this.productive =
      this.scalar !== null ||
      this.objects.some((spec) => spec.isProductive()) ||
      this.arrays.some((spec) => spec.isProductive());
    return this.productive;
  }
}

export class Nodes implements NodeSource {
  readonly forms: Forms;
  readonly separators: Separators;
  readonly #numbers: Numbers;
  readonly #values = new Map<string, ValueNode>();
  readonly #schemaIds = new Map<unknown, number>();
  readonly #jobs: { readonly node: ValueNode; readonly goal: Goal }[] = [];
  readonly #ids: NodeIds;

  constructor(forms: Forms, separators: Separators, ids: NodeIds) {
    this.#ids = ids;
    this.forms = forms;
    this.separators = separators;
    this.#numbers = new Numbers(forms.keywords.terms);
  }

  nextId(): number {
    return this.#ids.next();
  }

  /** The node of a goal, with all that it needs. @throws FormatError where no value satisfies it. */
  root(goal: Goal): ValueNode {
    const root = this.value(goal);
    for (let job = this.#jobs.pop(); job; job = this.#jobs.pop()) this.#fill(job.node, this.forms.of(job.goal));
    // A schema that refers to itself is satisfied by something only if it can come to an end.
    const open = new Set(this.#values.values());
    for (let changed = true; changed; ) {
      changed = false;
      for (const node of open)
        if (node.update()) {
          open.delete(node);
          changed = true;
        }
    }
    if (!root.productive) throw new FormatError('no value satisfies format.schema');
    return root;
  }

  /** The node of a goal; it is filled later. */
  value(goal: Goal): ValueNode {
    const ids = goal.map(({ schema, negated }) => `${negated ? '-' : ''}${this.#idOf(schema)}`);
    const key = [...new Set(ids)].sort().join();
    let node = this.#values.get(key);
    if (!node) {
      if (this.#values.size >= MAX_GOALS)
        throw new FormatError(`format.schema is too complex: it has more than ${MAX_GOALS} kinds of values`);
      node = new ValueNode(this);
      this.#values.set(key, node);
      this.#jobs.push({ node, goal });
    }
    return node;
  }

  #idOf(schema: unknown): string {
    if (typeof schema === 'boolean') return String(schema);
    let id = this.#schemaIds.get(schema);
    if (id === undefined) {
      id = this.#schemaIds.size;
      this.#schemaIds.set(schema, id);
    }
    return String(id);
  }

  #fill(node: ValueNode, forms: readonly Form[]): void {
    const { terms, anyString } = this.forms.keywords;
    const scalars: Term[] = [];
    for (const form of forms) {
      const { types } = form;
      if (types & NULL) scalars.push(terms.text('null'));
      if (types & TRUE) scalars.push(terms.text('true'));
      if (types & FALSE) scalars.push(terms.text('false'));
      if (types & STRING) scalars.push(form.string ?? anyString);
      if (types & NUMBER)
        scalars.push(form.numbers ? terms.texts(numbersOf(form).map(numberText)) : this.#numbers.term(form.number));
      if (form.literals) {
        scalars.push(this.#literals(form));
        continue;
      }
      if (types & OBJECT) node.objects.push(new ObjectSpec(this, form));
      if (types & ARRAY) node.arrays.push(new ArraySpec(this, form));
    }
    const scalar = terms.prune(terms.or(...scalars.map((term) => terms.prune(term))));
    node.scalar = scalar.kind === 'none' ? null : scalar;
  }

  /** Listed arrays and objects. */
  #literals(form: Form): Term {
    const { terms } = this.forms.keywords;
    const wanted = (form.literals ?? []).filter((value) => form.types & (Array.isArray(value) ? ARRAY : OBJECT));
    if (
      wanted.length > 0 &&
      (form.objects.length > 0 || form.arrays.length > 0 || form.contains.length > 0 || form.required.size > 0)
    )
      throw new FormatError(
        "format.schema: enum or const with arrays or objects can't be enforced together with other keywords on them",
      );
    return terms.texts(wanted.map((value) => JSON.stringify(value)));
  }
}

const numberText = (value: number): string => JSON.stringify(value);
