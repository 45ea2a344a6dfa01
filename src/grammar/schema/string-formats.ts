/**
 * @file The values of `format` as patterns. Each matches only what the format allows; of some formats it leaves rare
 * forms out.
 */
import { FormatError } from '../../util/errors.ts';
import { at } from './document.ts';

interface StringFormat {
  readonly pattern: string;
  /** What looks like one, and is none. */
  readonly not?: string;
}

const DATE =
  '[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))';
/** 29 February of leap years. */
const LEAP_DAY = '(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29';
const TIME = '(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])';
const BYTE = '(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])';
const IPV4 = `${BYTE}(?:\\.${BYTE}){3}`;
const HEX = '[0-9a-fA-F]{1,4}';
const LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?';
const HOST = `${LABEL}(?:\\.${LABEL}){0,3}`;
const ATOM = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]";
// At most 64 characters: one or two parts of any usual length, or up to four shorter ones.
const LOCAL = `(?:${ATOM}{1,32}(?:\\.${ATOM}{1,30})?|${ATOM}{1,15}(?:\\.${ATOM}{1,15}){2,3})`;
const URL_CHAR = "(?:[a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2})";
const SEGMENT = "(?:[a-zA-Z0-9._~!$&'()*+,;=@-]|%[0-9a-fA-F]{2})+";
const PATH = `(?:/${URL_CHAR}*)*`;
const TAIL = `(?:\\?(?:${URL_CHAR}|[/?])*)?(?:#(?:${URL_CHAR}|[/?])*)?`;
const SCHEME = '[a-zA-Z][a-zA-Z0-9+.-]*';
// Only a file has no host.
const URI = `${SCHEME}:(?://(?:${HOST}|${IPV4})(?::[0-9]{1,5})?${PATH}|${URL_CHAR}+${PATH})|file://(?:/${URL_CHAR}+)+/?`;

const ipv6 = (): string => {
  const forms = [`(?:${HEX}:){7}${HEX}`, '::', `::${HEX}(?::${HEX}){0,6}`];
  for (let before = 1; before <= 7; before++) {
    const most = 7 - before;
    forms.push(`${HEX}(?::${HEX}){${before - 1}}::`);
    if (most > 0) forms.push(`${HEX}(?::${HEX}){${before - 1}}::${HEX}(?::${HEX}){0,${most - 1}}`);
  }
  return forms.join('|');
};

const FORMATS: Readonly<Record<string, StringFormat>> = {
  date: { pattern: `^(?:${DATE}|${LEAP_DAY})$`, not: '^0000' },
  time: { pattern: `^${TIME}$` },
  'date-time': { pattern: `^(?:${DATE}|${LEAP_DAY})T${TIME}$`, not: '^0000' },
  duration: {
    pattern:
      '^P(?:[0-9]+W|(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)(?:T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S))?' +
      '|T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S))$',
  },
  uuid: { pattern: '^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' },
  email: { pattern: `^${LOCAL}@${LABEL}(?:\\.${LABEL}){1,3}$` },
  hostname: { pattern: `^${HOST}$` },
  ipv4: { pattern: `^${IPV4}$` },
  ipv6: { pattern: `^(?:${ipv6()})$` },
  uri: { pattern: `^(?:${URI})${TAIL}$` },
  url: { pattern: `^(?:https?|ftp)://${LABEL}(?:\\.${LABEL}){0,3}\\.[a-zA-Z]{2,20}(?::[0-9]{2,5})?${PATH}${TAIL}$` },
  'uri-reference': {
    // The first part of a relative path has no colon: it would be a scheme.
    pattern: `^(?:${URI}|(?:${SCHEME}:)?(?://${HOST}(?::[0-9]{1,5})?)?(?:/${URL_CHAR}+)*/?|${SEGMENT}(?:/${URL_CHAR}*)*)${TAIL}$`,
  },
  'json-pointer': { pattern: '^(?:/(?:[^~/]|~[01])*)*$' },
  byte: { pattern: '^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$' },
};
const ALIASES: Readonly<Record<string, string>> = {
  'host-name': 'hostname',
  'ip-address': 'ipv4',
  'idn-email': 'email',
  'idn-hostname': 'hostname',
  iri: 'uri',
  'iri-reference': 'uri-reference',
};
/** Formats of JSON Schema whose texts are no regular language, or that are not written here yet. */
const REFUSED = new Set([
  'regex',
  'uri-template',
  'relative-json-pointer',
  'iso-time',
  'iso-date-time',
  'json-pointer-uri-fragment',
]);

/** The pattern of a format; null for names that JSON Schema does not define, which say nothing. @throws FormatError */
export function formatTerm(name: string, path: string): StringFormat | null {
  const plain = ALIASES[name] ?? name;
  if (REFUSED.has(plain)) throw new FormatError(`${at(path)}: the format ${JSON.stringify(name)} can't be enforced`);
  return Object.hasOwn(FORMATS, plain) ? FORMATS[plain] : null;
}
