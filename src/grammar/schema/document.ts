/**
 * @file A schema document: its references and its limits.
 */
import { FormatError } from '../../util/errors.ts';
import { isObject } from '../../util/json/is-object.ts';
import type { Json, JsonObject } from './form.ts';

const MAX_DEPTH = 128;
const MAX_VALUES = 200_000;

export class SchemaDocument {
  readonly root: JsonObject | boolean;
  /** By `$id` and `$anchor`. */
  readonly #named = new Map<string, { readonly schema: JsonObject; readonly path: string }>();

  /** @throws FormatError for what is no schema, or too large. */
  constructor(root: unknown) {
    if (typeof root !== 'boolean' && !isObject(root))
      throw new FormatError('format.schema must be a JSON schema: an object, true or false');
    this.root = root as JsonObject | boolean;
    this.#read();
  }

  /** What a reference of the schema at a path names. @throws FormatError where it names nothing of this document. */
  resolve(ref: string, path: string): { readonly schema: JsonObject | boolean; readonly path: string } {
    const named = this.#named.get(ref);
    if (named) return named;
    const [base, fragment = ''] = ref.split('#');
    const start = base === '' ? { schema: this.root, path: '' } : this.#named.get(base);
    if (!start || (fragment !== '' && !fragment.startsWith('/')))
      throw new FormatError(
        `${at(path)}: $ref ${JSON.stringify(ref)} is not within the schema; put what it names into $defs`,
      );
    let value: Json = start.schema;
    let where = start.path;
    for (const part of fragment.split('/').slice(1)) {
      const key = unescapePointer(part);
      const inner: Json | undefined =
        typeof value === 'object' && value !== null && Object.hasOwn(value, key)
          ? (value as JsonObject)[key]
          : undefined;
      if (inner === undefined) throw new FormatError(`${at(path)}: $ref ${JSON.stringify(ref)} names nothing`);
      value = inner;
      where += `/${part}`;
    }
    if (!isSchema(value)) throw new FormatError(`${at(path)}: $ref ${JSON.stringify(ref)} names no schema`);
    return { schema: value, path: where };
  }

  #read(): void {
    const jobs: { value: Json; path: string; depth: number }[] = [{ value: this.root, path: '', depth: 0 }];
    let count = 0;
    for (let job = jobs.pop(); job; job = jobs.pop()) {
      const { value, path, depth } = job;
      if (++count > MAX_VALUES) throw new FormatError(`format.schema has more than ${MAX_VALUES} values`);
      if (depth > MAX_DEPTH) throw new FormatError(`format.schema is nested more than ${MAX_DEPTH} deep`);
      if (typeof value !== 'object' || value === null) continue;
      if (isObject(value)) {
        const schema = value as JsonObject;
        for (const key of ['$id', 'id', '$anchor'])
          if (typeof schema[key] === 'string') {
            const name = schema[key] as string;
            this.#named.set(key === '$anchor' ? `#${name}` : name, { schema, path });
          }
      }
      for (const [key, inner] of Object.entries(value))
        jobs.push({ value: inner as Json, path: `${path}/${escapePointer(key)}`, depth: depth + 1 });
    }
  }
}

export function isSchema(value: unknown): value is JsonObject | boolean {
  return typeof value === 'boolean' || isObject(value);
}

/** How messages name a part of the schema. */
export const at = (path: string): string => `format.schema${path === '' ? '' : ` at ${path}`}`;

export const escapePointer = (key: string): string => key.replaceAll('~', '~0').replaceAll('/', '~1');

function unescapePointer(part: string): string {
  let text = part;
  try {
    text = decodeURIComponent(part);
  } catch {
    // A % that escapes nothing is itself.
  }
  return text.replaceAll('~1', '/').replaceAll('~0', '~');
}
