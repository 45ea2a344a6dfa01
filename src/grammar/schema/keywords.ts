/**
 * @file The keywords of a schema as forms. A keyword that is not known, or can't be enforced, is refused by its name
 * and path.
 */
import { FormatError } from '../../util/errors.ts';
import { isObject } from '../../util/json/is-object.ts';
import { ALL_CODES, type JsonCharacters } from '../terms/characters.ts';
import { searchTerm } from '../terms/pattern.ts';
import type { Term, Terms } from '../terms/terms.ts';
import { at, escapePointer, isSchema } from './document.ts';
import {
  ANY_FORM,
  ANY_TYPE,
  ARRAY,
  type Condition,
  FALSE,
  type Form,
  type Goal,
  type Json,
  type JsonObject,
  NULL,
  NUMBER,
  OBJECT,
  STRING,
  TRUE,
} from './form.ts';
import { formatTerm } from './string-formats.ts';

export const TYPES: Readonly<Record<string, number>> = {
  null: NULL,
  boolean: TRUE | FALSE,
  number: NUMBER,
  integer: NUMBER,
  string: STRING,
  array: ARRAY,
  object: OBJECT,
};

/** Compiled by others. */
const APPLICATORS = [
  '$ref',
  'allOf',
  'anyOf',
  'oneOf',
  'not',
  'if',
  'dependentRequired',
  'dependentSchemas',
  'dependencies',
];
/** Keywords of JSON Schema that can't be enforced. */
const REFUSED = [
  'unevaluatedProperties',
  'unevaluatedItems',
  '$dynamicRef',
  '$recursiveRef',
  'extends',
  'disallow',
  'divisibleBy',
];
/** Longest text that one limit may count. */
const MAX_COUNT = 10_000_000;

export class Keywords {
  readonly terms: Terms;
  readonly #characters: JsonCharacters;
  readonly quote: Term;
  /** Any JSON string. */
  readonly anyString: Term;

  constructor(characters: JsonCharacters) {
    this.terms = characters.terms;
    this.#characters = characters;
    this.quote = this.terms.text('"');
    this.anyString = this.quoted(this.terms.repeat(characters.of(ALL_CODES)));
  }

  quoted(body: Term): Term {
    return this.terms.concat(this.quote, body, this.quote);
  }

  /** Strings of JSON in which a pattern matches. */
  pattern(source: string, path: string): Term {
    try {
      return this.quoted(searchTerm(source, this.#characters));
    } catch (error) {
      throw error instanceof FormatError ? new FormatError(`${at(path)}: ${error.message}`) : error;
    }
  }

  literalStrings(texts: readonly string[]): Term {
    return this.terms.texts(texts.map((text) => JSON.stringify(text)));
  }

  length(min: number, max: number): Term {
    return this.quoted(this.terms.repeat(this.#characters.of(ALL_CODES), min, max));
  }

  /** What a schema's own keywords ask for, without those that combine schemas. */
  form(schema: JsonObject, path: string): Form {
    // Keywords that are not known say nothing, as JSON Schema has it.
    for (const key of REFUSED) if (Object.hasOwn(schema, key)) throw refusal(path, key);
    const form: { -readonly [K in keyof Form]: Form[K] } = { ...ANY_FORM };
    const types = this.#types(schema, path);
    form.types = types.bits;
    form.number = this.#number(schema, path, types.integer);
    form.string = this.#string(schema, path);
    this.#values(form, schema, path);
    this.#object(form, schema, path);
    this.#array(form, schema, path);
    return form;
  }

  #types(schema: JsonObject, path: string): { readonly bits: number; readonly integer: boolean } {
    const { type } = schema;
    if (type === undefined) return { bits: ANY_TYPE, integer: false };
    const names = Array.isArray(type) ? (type as readonly Json[]) : [type];
    let bits = 0;
    for (const name of names) {
      if (typeof name !== 'string' || !Object.hasOwn(TYPES, name))
        throw new FormatError(`${at(path)}: there is no type ${JSON.stringify(name)}`);
      bits |= TYPES[name];
    }
    return { bits, integer: names.includes('integer') && !names.includes('number') };
  }

  #number(schema: JsonObject, path: string, integer: boolean): Form['number'] {
    const bound = (name: string, exclusiveName: string, sign: number) => {
      const plain = numberOf(schema, name, path);
      const stated = schema[exclusiveName];
      // Draft 4 says true.
      if (typeof stated === 'boolean') return plain === null ? null : { value: plain, exclusive: stated };
      const exclusive = numberOf(schema, exclusiveName, path);
      if (exclusive === null) return plain === null ? null : { value: plain, exclusive: false };
      const isTighter = plain === null || (exclusive - plain) * sign >= 0;
      return isTighter ? { value: exclusive, exclusive: true } : { value: plain, exclusive: false };
    };
    const divisor = numberOf(schema, 'multipleOf', path);
    const isWhole = divisor === null || (Number.isInteger(divisor) && divisor > 0 && divisor <= 10_000);
    if (!isWhole)
      throw new FormatError(`${at(path)}: multipleOf ${divisor} can't be enforced; whole numbers up to 10000 can`);
    return {
      integer: integer || divisor !== null,
      min: bound('minimum', 'exclusiveMinimum', 1),
      max: bound('maximum', 'exclusiveMaximum', -1),
      multiples: divisor === null || divisor === 1 ? [] : [divisor],
    };
  }

  #string(schema: JsonObject, path: string): Term | null {
    const parts: Term[] = [];
    const [min, max] = [countOf(schema, 'minLength', path), countOf(schema, 'maxLength', path)];
    if (min !== null || max !== null) parts.push(this.length(min ?? 0, max ?? Number.POSITIVE_INFINITY));
    const { pattern, format } = schema;
    if (pattern !== undefined) {
      if (typeof pattern !== 'string') throw new FormatError(`${at(path)}: pattern must be a text`);
      parts.push(this.pattern(pattern, path));
    }
    if (typeof format === 'string') {
      const known = formatTerm(format, path);
      if (known !== null) parts.push(this.pattern(known.pattern, path));
      if (known?.not) parts.push(this.terms.not(this.pattern(known.not, path)));
    }
    if (min !== null && max !== null && min > max) return this.terms.none;
    return parts.length === 0 ? null : this.terms.prune(this.terms.and(this.anyString, ...parts));
  }

  #values(form: { -readonly [K in keyof Form]: Form[K] }, schema: JsonObject, path: string): void {
    for (const key of ['enum', 'const']) {
      if (!Object.hasOwn(schema, key)) continue;
      const values = key === 'const' ? [schema[key]] : schema[key];
      if (!Array.isArray(values)) throw new FormatError(`${at(path)}: enum must be a list`);
      const strings = values.filter((value): value is string => typeof value === 'string');
      const numbers = values.filter((value): value is number => typeof value === 'number');
      const literals = values.filter((value) => typeof value === 'object' && value !== null) as Json[];
      let bits = 0;
      for (const value of values)
        bits |= value === null ? NULL : value === true ? TRUE : value === false ? FALSE : TYPES[typeOf(value)];
      form.types &= bits;
      const string = this.literalStrings(strings);
      form.string = form.string ? this.terms.and(form.string, string) : string;
      form.numbers = form.numbers?.filter((value) => numbers.includes(value)) ?? numbers;
      const texts = new Set(literals.map((value) => JSON.stringify(value)));
      form.literals = form.literals?.filter((value) => texts.has(JSON.stringify(value))) ?? literals;
    }
  }

  #object(form: { -readonly [K in keyof Form]: Form[K] }, schema: JsonObject, path: string): void {
    form.minProperties = countOf(schema, 'minProperties', path) ?? 0;
    form.maxProperties = countOf(schema, 'maxProperties', path) ?? Number.POSITIVE_INFINITY;
    // Draft 3 has true here.
    if (Array.isArray(schema['required'])) form.required = new Set(stringsOf(schema, 'required', path));
    const { properties = {}, patternProperties = {}, additionalProperties, propertyNames } = schema;
    const rules = [properties, patternProperties];
    if (!rules.every(isObject)) throw new FormatError(`${at(path)}: properties and patternProperties must be objects`);
    if (
      Object.keys(properties as JsonObject).length + Object.keys(patternProperties as JsonObject).length > 0 ||
      additionalProperties !== undefined
    ) {
      form.objects = [
        {
          properties: new Map(
            Object.entries(properties as JsonObject).map(([name, inner]) => [
              name,
              goalOf(inner, `${path}/properties/${escapePointer(name)}`),
            ]),
          ),
          patterns: Object.entries(patternProperties as JsonObject).map(([source, inner]) => ({
            names: this.terms.and(this.anyString, this.pattern(source, `${path}/patternProperties`)),
            goal: goalOf(inner, `${path}/patternProperties/${escapePointer(source)}`),
          })),
          others:
            additionalProperties === undefined ? [] : goalOf(additionalProperties, `${path}/additionalProperties`),
        },
      ];
    }
    if (propertyNames === undefined || propertyNames === true) return;
    const goal = goalOf(propertyNames, `${path}/propertyNames`);
    const names = isObject(propertyNames) ? this.#names(propertyNames, goal[0].path) : this.terms.none;
    const others = [{ schema: false, negated: false, path: `${path}/propertyNames` }] as const;
    form.objects = [...form.objects, { properties: new Map(), patterns: [{ names, goal: [] }], others }];
  }

  #names(schema: JsonObject, path: string): Term {
    for (const key of APPLICATORS) if (key in schema) throw refusal(path, key);
    const { string, types } = this.form(schema, path);
    return types & STRING ? (string ?? this.anyString) : this.terms.none;
  }

  #array(form: { -readonly [K in keyof Form]: Form[K] }, schema: JsonObject, path: string): void {
    form.minItems = countOf(schema, 'minItems', path) ?? 0;
    form.maxItems = countOf(schema, 'maxItems', path) ?? Number.POSITIVE_INFINITY;
    if (schema['uniqueItems'] === true && form.maxItems > 1) throw refusal(path, 'uniqueItems');
    const { items, prefixItems, additionalItems, contains } = schema;
    const list = Array.isArray(items) ? 'items' : 'prefixItems';
    const first = (Array.isArray(items) ? items : (prefixItems ?? [])) as readonly Json[];
    const [key, rest] = Array.isArray(items)
      ? (['additionalItems', additionalItems] as const)
      : (['items', items] as const);
    if (first.length > 0 || rest !== undefined)
      form.arrays = [
        {
          first: first.map((inner, i) => goalOf(inner, `${path}/${list}/${i}`)),
          others: rest === undefined ? [] : goalOf(rest, `${path}/${key}`),
        },
      ];
    if (contains === undefined) return;
    const least = countOf(schema, 'minContains', path) ?? 1;
    if (least > 1) throw refusal(path, 'minContains');
    if (schema['maxContains'] !== undefined) throw refusal(path, 'maxContains');
    if (least === 1) form.contains = [goalOf(contains, `${path}/contains`)];
  }
}

export function refusal(path: string, keyword: string): FormatError {
  return new FormatError(`${at(path)}: the keyword ${keyword} can't be enforced`);
}

export function goalOf(value: unknown, path: string, negated = false): Goal {
  if (!isSchema(value)) throw new FormatError(`${at(path)} must be a schema: an object, true or false`);
  return [{ schema: value, negated, path }];
}

/** The schemas of a list. */
export function branches(schema: JsonObject, key: string, path: string, negated = false): readonly Condition[] {
  const list = schema[key];
  if (list === undefined) return [];
  if (!Array.isArray(list)) throw new FormatError(`${at(path)}: ${key} must be a list of schemas`);
  return list.flatMap((inner, i) => goalOf(inner, `${path}/${key}/${i}`, negated));
}

export function stringsOf(schema: JsonObject, key: string, path: string): readonly string[] {
  const list = schema[key];
  if (!Array.isArray(list) || !list.every((name) => typeof name === 'string'))
    throw new FormatError(`${at(path)}: ${key} must be a list of names`);
  return list as readonly string[];
}

function numberOf(schema: JsonObject, key: string, path: string): number | null {
  const value = schema[key];
  if (value === undefined) return null;
  if (typeof value !== 'number' || !Number.isFinite(value))
    throw new FormatError(`${at(path)}: ${key} must be a number`);
  return value;
}

function countOf(schema: JsonObject, key: string, path: string): number | null {
  const value = numberOf(schema, key, path);
  if (value !== null && (!Number.isInteger(value) || value < 0))
    throw new FormatError(`${at(path)}: ${key} must be a whole number of at least 0`);
  return value === null ? null : Math.min(value, MAX_COUNT);
}

function typeOf(value: unknown): string {
  return Array.isArray(value) ? 'array' : typeof value;
}
