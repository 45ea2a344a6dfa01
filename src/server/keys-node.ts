/**
 * @file API keys: which are accepted, and the name of each.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { checkText } from '../util/arguments.ts';

/** The name of a key: what `authorize` gives for it. @throws InputError for what is no text. */
export function keyName(key: string): string {
  checkText('keyName', 'a key as a string', key);
  return nameOf(digest(key));
}

const nameOf = (hash: Buffer): string => hash.toString('hex').slice(0, 16);
const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/**
 * A function for `authorize`: the hash of the key, where it is one of these. Comparing takes the same time for all
 * keys.
 */
export function keyCheck(keys: readonly string[]): (key: string | null) => string | null {
  const known = keys.map(digest);
  return (key) => {
    const given = digest(key ?? '');
    let found: string | null = null;
    for (const each of known) if (timingSafeEqual(each, given)) found = nameOf(each);
    return key === null ? null : found;
  };
}

const LOCAL = /^(localhost|127(\.\d{1,3}){3}|::1|\[::1\])$/;
/** Whether an address is of this machine alone. */
export const isLocal = (host: string): boolean => LOCAL.test(host);
