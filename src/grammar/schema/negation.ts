/**
 * @file What a schema does not allow, as forms: for `not`, `if`, and the branches of `oneOf`.
 */
import { isObject } from '../../util/json/is-object.ts';
import {
  ANY_FORM,
  ANY_TYPE,
  ARRAY,
  type Condition,
  type Form,
  type Goal,
  type JsonObject,
  NUMBER,
  OBJECT,
  STRING,
} from './form.ts';
import { branches, goalOf, type Keywords, refusal, TYPES } from './keywords.ts';

/** Keywords on strings and numbers, whose opposite is known from their form. */
const STRING_KEYS = ['minLength', 'maxLength', 'pattern', 'format'];
const NUMBER_KEYS = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'];
const OPPOSED = new Set([
  ...STRING_KEYS,
  ...NUMBER_KEYS,
  'type',
  'enum',
  'const',
  'required',
  'properties',
  'minItems',
  'maxItems',
  'minProperties',
  'maxProperties',
  '$ref',
  'allOf',
  'anyOf',
  'not',
]);
/** Keywords with an opposite that is not known. */
const REFUSED = [
  'multipleOf',
  'additionalProperties',
  'patternProperties',
  'propertyNames',
  'items',
  'prefixItems',
  'additionalItems',
  'contains',
  'uniqueItems',
  'oneOf',
  'if',
  'dependentRequired',
  'dependentSchemas',
  'dependencies',
  'minContains',
  'maxContains',
];

/** What it needs of the schemas around it. */
interface FormSource {
  readonly keywords: Keywords;
  of(goal: Goal): readonly Form[];
  ofCondition(condition: Condition): readonly Form[];
  target(schema: JsonObject, path: string, negated: boolean): Condition;
}

export class Negation {
  readonly #forms: FormSource;

  constructor(forms: FormSource) {
    this.#forms = forms;
  }

  /** The forms of which a value has at least one, where it does not satisfy the schema. */
  of(schema: JsonObject, path: string): readonly Form[] {
    const forms = this.#forms;
    for (const key of REFUSED)
      if (schema[key] !== undefined && schema[key] !== true) throw refusal(path, `${key} below not, if or oneOf`);
    const out: Form[] = [];
    for (const key of Object.keys(schema).filter((key) => OPPOSED.has(key))) {
      switch (key) {
        case '$ref':
          out.push(...forms.ofCondition(forms.target(schema, path, true)));
          break;
        case 'not':
          out.push(...forms.of(goalOf(schema['not'], `${path}/not`)));
          break;
        case 'allOf':
          out.push(...branches(schema, key, path, true).flatMap((condition) => forms.ofCondition(condition)));
          break;
        case 'anyOf':
          out.push(...forms.of(branches(schema, key, path, true)));
          break;
        default:
          out.push(...this.#opposite({ [key]: schema[key] }, key, path));
      }
    }
    return out;
  }

  /** Of a schema with one keyword. */
  #opposite(schema: JsonObject, key: string, path: string): readonly Form[] {
    const { terms, anyString } = this.#forms.keywords;
    const form = this.#forms.keywords.form(schema, path);
    if (STRING_KEYS.includes(key)) {
      // A format that is not known allows all.
      if (form.string === null) return [];
      return [{ ...ANY_FORM, types: STRING, string: terms.prune(terms.and(anyString, terms.not(form.string))) }];
    }
    if (NUMBER_KEYS.includes(key)) {
      const { min, max } = form.number;
      if (!min && !max) throw refusal(path, `${key} below not, if or oneOf`);
      const flip = (bound: { value: number; exclusive: boolean }) => ({
        value: bound.value,
        exclusive: !bound.exclusive,
      });
      return [...(min ? [numbers({ max: flip(min) })] : []), ...(max ? [numbers({ min: flip(max) })] : [])];
    }
    switch (key) {
      case 'type':
        if ([schema[key]].flat().includes('integer')) throw refusal(path, 'type integer below not, if or oneOf');
        return [{ ...ANY_FORM, types: ANY_TYPE & ~form.types }];
      case 'enum':
      case 'const':
        return this.#otherValues(schema, form, path);
      case 'required':
        return [...form.required].map((name) => ({ ...ANY_FORM, types: OBJECT, forbidden: new Set([name]) }));
      case 'properties':
        return Object.entries(isObject(schema[key]) ? schema[key] : {}).map(([name, inner]) =>
          withProperty(name, goalOf(inner, `${path}/properties/${name}`, true)),
        );
      case 'minItems':
        return form.minItems === 0 ? [] : [{ ...ANY_FORM, types: ARRAY, maxItems: form.minItems - 1 }];
      case 'maxItems':
        return [{ ...ANY_FORM, types: ARRAY, minItems: form.maxItems + 1 }];
      case 'minProperties':
        return form.minProperties === 0 ? [] : [{ ...ANY_FORM, types: OBJECT, maxProperties: form.minProperties - 1 }];
      case 'maxProperties':
        return [{ ...ANY_FORM, types: OBJECT, minProperties: form.maxProperties + 1 }];
    }
    throw refusal(path, `${key} below not, if or oneOf`);
  }

  /** Values that are not listed. */
  #otherValues(schema: JsonObject, form: Form, path: string): readonly Form[] {
    const { terms, anyString } = this.#forms.keywords;
    const values = (schema['enum'] ?? [schema['const']]) as readonly unknown[];
    if (form.literals && form.literals.length > 0)
      throw refusal(path, 'enum of arrays or objects below not, if or oneOf');
    // What has a type with too many values to list.
    let types = ANY_TYPE;
    for (const value of values) if (value === null) types &= ~TYPES['null'];
    for (const value of values) if (typeof value === 'boolean') types &= ~(value ? 2 : 4);
    const out: Form[] = [{ ...ANY_FORM, types: types & ~STRING & ~NUMBER }];
    out.push({ ...ANY_FORM, types: STRING, string: terms.and(anyString, terms.not(form.string!)) });
    const listed = [...(form.numbers ?? [])].sort((a, b) => a - b);
    if (listed.length === 0) return [...out, { ...ANY_FORM, types: NUMBER }];
    listed.forEach((value, i) => {
      const min = i === 0 ? null : { value: listed[i - 1], exclusive: true };
      out.push(numbers({ min, max: { value, exclusive: true } }));
    });
    return [...out, numbers({ min: { value: listed.at(-1)!, exclusive: true } })];
  }
}

function numbers(range: Partial<Form['number']>): Form {
  return { ...ANY_FORM, types: NUMBER, number: { ...ANY_FORM.number, ...range } };
}

function withProperty(name: string, goal: Goal): Form {
  const rules = { properties: new Map([[name, goal]]), patterns: [], others: [] };
  return { ...ANY_FORM, types: OBJECT, required: new Set([name]), objects: [rules] };
}
