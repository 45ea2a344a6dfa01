/**
 * @file Origins of pages that may call the server (CORS).
 */
import { InputError } from '../util/errors.ts';

/** Also schemes of applications, such as `tauri://localhost` and `chrome-extension://…`. */
const ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@*,]+$/;

/**
 * An origin as browsers send it: without the default port, in lower case; `*` stands for all.
 * @throws InputError for a text that is no origin, such as an address with a path.
 */
export function readOrigin(text: string): string {
  if (text === '*') return text;
  const origin = text.toLowerCase().replace(/\/$/, '');
  if (!ORIGIN.test(origin) || !URL.canParse(origin))
    throw new InputError(
      `"${text}" is not an origin: give scheme, host and port only, such as https://example.org or http://localhost:5173, or *`,
    );
  return /^https?:/.test(origin) ? new URL(origin).origin : origin;
}
