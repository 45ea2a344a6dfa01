/**
 * @file Bodies of requests as JSON, within limits.
 */
import type { Context } from 'hono';
import { isObject } from '../util/json/is-object.ts';
import { findJsonFlaw } from '../util/json/json-keys.ts';
import { HttpError } from './http-error.ts';

const MAX_DEPTH = 64;

/**
 * The body of a request.
 * @param most bytes.
 * @throws HttpError for another type than JSON, for what is compressed or no UTF-8, for what is no object of JSON, and
 * for what is too large or nested too deep.
 */
export async function readJson(c: Context, most: number): Promise<unknown> {
  if (!/^application\/json\b/i.test(c.req.header('content-type') ?? ''))
    throw new HttpError(415, 'send JSON, with "Content-Type: application/json"');
  const encoding = c.req.header('content-encoding') || 'identity';
  if (encoding.toLowerCase() !== 'identity')
    throw new HttpError(415, `bodies are taken as they are: send it without "Content-Encoding: ${encoding}"`);
  const tooLarge = new HttpError(413, `the body is larger than ${most} bytes`, { code: 'request_too_large' });
  if (Number(c.req.header('content-length') ?? 0) > most) throw tooLarge;
  let size = 0;
  const pieces: Uint8Array[] = [];
  for await (const piece of c.req.raw.body ?? []) {
    size += piece.length;
    if (size > most) throw tooLarge;
    pieces.push(piece);
  }
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const piece of pieces) {
    bytes.set(piece, offset);
    offset += piece.length;
  }
  return parseBody(textOf(bytes));
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new HttpError(400, 'the body is not UTF-8 text, which JSON must be');
  }
}

function parseBody(text: string): unknown {
  if (findJsonFlaw(text, MAX_DEPTH, 'any')?.kind === 'depth')
    throw new HttpError(400, `the body is nested deeper than ${MAX_DEPTH} levels`);
  let value: unknown;
  try {
    // A key of this name would change objects themselves.
    value = JSON.parse(text, (key, each) => (key === '__proto__' ? undefined : each));
  } catch (error) {
    throw new HttpError(400, `the body is no JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  if (!isObject(value)) throw new HttpError(400, 'the body must be a JSON object');
  return value;
}
