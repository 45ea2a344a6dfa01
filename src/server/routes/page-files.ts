/**
 * @file What the server is given of its page. The types are public, and those of hono do not compile with TypeScript
 * 5.4.
 */

/** A file of the page. */
export interface PageFile {
  readonly type: string;
  readonly body: Uint8Array;
}

/** Files by their path below `/`; '' is the page itself. */
export type PageFiles = ReadonlyMap<string, PageFile>;
