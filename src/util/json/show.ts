/**
 * @file A value of a file as it may stand in a message: on one line, cut, and escaped for a terminal.
 */

/**
 * A value as JSON; `missing` where there is none.
 * @param most characters of a text, or of the JSON of anything else, before it is cut.
 */
export function show(value: unknown, most = 80): string {
  if (value === undefined) return 'missing';
  // A text is cut before it is quoted, so that the quotes are a pair.
  const json = JSON.stringify(typeof value === 'string' ? cut(value, most) : value) ?? typeof value;
  return (typeof value === 'string' ? json : cut(json, most)).replaceAll('\x7f', '\\u007f');
}

const cut = (text: string, most: number): string => (text.length > most ? `${text.slice(0, most)}…` : text);
