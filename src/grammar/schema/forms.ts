/**
 * @file Schemas as forms: references, and the keywords that combine schemas.
 */
import { FormatError } from '../../util/errors.ts';
import { isObject } from '../../util/json/is-object.ts';
import { at, escapePointer, type SchemaDocument } from './document.ts';
import {
  ANY_FORM,
  ARRAY,
  type Condition,
  FALSE,
  type Form,
  type Goal,
  type JsonObject,
  meet,
  NULL,
  NUMBER,
  numbersOf,
  OBJECT,
  STRING,
  TRUE,
} from './form.ts';
import { branches, goalOf, type Keywords, stringsOf } from './keywords.ts';
import { Negation } from './negation.ts';

const MAX_FORMS = 1_000;
/** Pairs of forms that are brought together, in all. */
const MAX_MEETS = 100_000;
/** How deep objects are compared, to find out whether two schemas exclude each other. */
const MAX_COMPARED = 3;

export class Forms {
  readonly keywords: Keywords;
  readonly #document: SchemaDocument;
  readonly #negation: Negation;
  readonly #known = new Map<JsonObject, readonly Form[]>();
  readonly #open = new Set<JsonObject>();
  #meets = 0;

  constructor(document: SchemaDocument, keywords: Keywords) {
    this.#document = document;
    this.keywords = keywords;
    this.#negation = new Negation(this);
  }

  /** The forms of all conditions together. */
  of(goal: Goal): readonly Form[] {
    return goal.reduce<readonly Form[]>(
      (forms, condition) => this.cross(forms, this.ofCondition(condition)),
      [ANY_FORM],
    );
  }

  ofCondition({ schema, negated, path }: Condition): readonly Form[] {
    if (typeof schema === 'boolean') return schema === negated ? [] : [ANY_FORM];
    return negated ? this.#negation.of(schema, path) : this.#ofSchema(schema, path);
  }

  /** What a reference of a schema names, as a condition. */
  target(schema: JsonObject, path: string, negated = false): Condition {
    const ref = schema['$ref'];
    if (typeof ref !== 'string') throw new FormatError(`${at(path)}: $ref must be a text`);
    return { ...this.#document.resolve(ref, path), negated };
  }

  /** Each of some forms together with each of others, but for those that nothing has. */
  cross(a: readonly Form[], b: readonly Form[]): readonly Form[] {
    if (a.length === 1 && a[0] === ANY_FORM) return b;
    if (b.length === 1 && b[0] === ANY_FORM) return a;
    const forms: Form[] = [];
    for (const first of a)
      for (const second of b) {
        if (++this.#meets > MAX_MEETS) throw tooMany();
        const form = meet(this.keywords.terms, first, second);
        if (!this.#isHopeless(form)) forms.push(form);
      }
    if (forms.length > MAX_FORMS) throw tooMany();
    return forms;
  }

  #ofSchema(schema: JsonObject, path: string): readonly Form[] {
    const known = this.#known.get(schema);
    if (known) return known;
    if (this.#open.has(schema)) throw new FormatError(`${at(path)} refers to itself before any value was written`);
    this.#open.add(schema);
    try {
      const forms = this.#combined(schema, path);
      this.#known.set(schema, forms);
      return forms;
    } finally {
      this.#open.delete(schema);
    }
  }

  #combined(schema: JsonObject, path: string): readonly Form[] {
    let forms: readonly Form[] = [this.keywords.form(schema, path)];
    if (this.#isHopeless(forms[0])) return [];
    const add = (others: readonly Form[]) => {
      forms = this.cross(forms, others);
    };
    if (schema['$ref'] !== undefined) add(this.ofCondition(this.target(schema, path)));
    for (const condition of branches(schema, 'allOf', path)) add(this.ofCondition(condition));
    if (schema['anyOf'] !== undefined)
      add(branches(schema, 'anyOf', path).flatMap((condition) => this.ofCondition(condition)));
    if (schema['oneOf'] !== undefined) forms = this.#oneOf(branches(schema, 'oneOf', path), forms);
    if (schema['not'] !== undefined) add(this.of(goalOf(schema['not'], `${path}/not`, true)));
    if (schema['if'] !== undefined) add(this.#conditional(schema, path));
    this.#dependencies(schema, path, add);
    return forms;
  }

  /** Each branch without the others that it does not exclude already. */
  #oneOf(conditions: readonly Condition[], around: readonly Form[]): readonly Form[] {
    const all = conditions.map((condition) => this.cross(around, this.ofCondition(condition)));
    return all.flatMap((own, i) =>
      all.reduce((forms, other, j) => {
        if (i === j || forms.length === 0 || this.#exclude(forms, other, 0)) return forms;
        const { schema, path } = conditions[j];
        try {
          return this.cross(forms, this.ofCondition({ schema, path, negated: true }));
        } catch (error) {
          if (!(error instanceof FormatError)) throw error;
          throw new FormatError(
            `${at(conditions[i].path)}: oneOf can't be enforced, for a value may satisfy this branch and that at ${path}; use anyOf`,
          );
        }
      }, own),
    );
  }

  #conditional(schema: JsonObject, path: string): readonly Form[] {
    const part = (key: string) =>
      schema[key] === undefined ? [ANY_FORM] : this.of(goalOf(schema[key], `${path}/${key}`));
    const when = goalOf(schema['if'], `${path}/if`);
    const [then, otherwise] = [part('then'), part('else')];
    if (then[0] === ANY_FORM && otherwise[0] === ANY_FORM) return [ANY_FORM];
    return [...this.cross(this.of(when), then), ...this.cross(this.of([{ ...when[0], negated: true }]), otherwise)];
  }

  #dependencies(schema: JsonObject, path: string, add: (forms: readonly Form[]) => void): void {
    for (const key of ['dependentRequired', 'dependentSchemas', 'dependencies']) {
      const map = schema[key];
      if (map === undefined) continue;
      if (!isObject(map)) throw new FormatError(`${at(path)}: ${key} must be an object`);
      for (const name of Object.keys(map)) {
        const inner = map[name];
        const where = `${path}/${key}/${escapePointer(name)}`;
        const needs = typeof inner === 'string' ? [inner] : Array.isArray(inner) ? stringsOf(map, name, where) : null;
        const then: readonly Form[] = needs
          ? [{ ...ANY_FORM, required: new Set(needs) }]
          : this.of(goalOf(inner, where));
        // What is no object has no properties.
        add([
          { ...ANY_FORM, forbidden: new Set([name]) },
          ...this.cross([{ ...ANY_FORM, types: OBJECT, required: new Set([name]) }], then),
        ]);
      }
    }
  }

  /** Whether no value has a form of both. False where that is not found out. */
  #exclude(a: readonly Form[], b: readonly Form[], depth: number): boolean {
    return a.every((first) =>
      b.every((second) => {
        if (++this.#meets > MAX_MEETS) throw tooMany();
        return this.#isImpossible(meet(this.keywords.terms, first, second), depth);
      }),
    );
  }

  /** Whether it is certain that nothing has a form, by what is quick to see. */
  #isHopeless(form: Form): boolean {
    return form.types === 0 || this.#isImpossible(form, MAX_COMPARED);
  }

  #isImpossible(form: Form, depth: number): boolean {
    const { types } = form;
    if (types & (NULL | TRUE | FALSE)) return false;
    if (types & STRING && !(form.string && this.keywords.terms.isEmpty(form.string))) return false;
    if (types & NUMBER && !isEmptyRange(form)) return false;
    if (types & ARRAY && form.minItems <= form.maxItems && !(form.literals?.some(Array.isArray) === false))
      return false;
    return !(types & OBJECT) || this.#isImpossibleObject(form, depth);
  }

  #isImpossibleObject(form: Form, depth: number): boolean {
    if (form.literals?.some(isObject) === false) return true;
    if (form.minProperties > form.maxProperties || form.required.size > form.maxProperties) return true;
    for (const name of form.required) {
      if (form.forbidden.has(name)) return true;
      if (depth >= MAX_COMPARED) continue;
      const goal = this.propertyGoal(form, name);
      if (goal.some(({ schema, negated }) => schema === negated)) return true;
      if (goal.length > 1 && this.#isImpossibleGoal(goal, depth + 1)) return true;
    }
    return false;
  }

  #isImpossibleGoal(goal: Goal, depth: number): boolean {
    try {
      const [first, ...others] = goal.map((condition) => this.ofCondition(condition));
      return others.every((forms) => forms.length > 0) && first.length > 0
        ? others.some((forms) => this.#exclude(first, forms, depth))
        : true;
    } catch (error) {
      // Not understood, so not excluded; where it counts, it is refused later.
      if (error instanceof FormatError) return false;
      throw error;
    }
  }

  /** What the value of a property must satisfy. */
  propertyGoal({ objects }: Form, name: string): Goal {
    const text = JSON.stringify(name);
    return objects.flatMap(({ properties, patterns, others }) => {
      const matching = patterns.filter(({ names }) => this.keywords.terms.matches(names, text));
      const own = properties.get(name);
      if (!own && matching.length === 0) return others;
      return [...(own ?? []), ...matching.flatMap(({ goal }) => goal)];
    });
  }
}

function isEmptyRange(form: Form): boolean {
  if (form.numbers) return numbersOf(form).length === 0;
  const { min, max } = form.number;
  return (
    min !== null &&
    max !== null &&
    (min.value > max.value || (min.value === max.value && (min.exclusive || max.exclusive)))
  );
}

function tooMany(): FormatError {
  return new FormatError('format.schema is too complex: anyOf, oneOf and allOf together have too many combinations');
}
