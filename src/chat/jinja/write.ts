/**
 * @file Values as texts: Python's `str`, `repr` and `json.dumps`.
 */
import { JinjaError } from './errors.ts';
import {
  Callable,
  Float,
  isFloat,
  isNumeric,
  Lazy,
  numberOf,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

/** A value as it is written into the output. */
export function str(value: Value): string {
  if (typeof value === 'string') return value;
  return value instanceof Undefined ? '' : repr(value);
}

export function repr(value: Value): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'string') return quote(value);
  if (isNumeric(value)) return isFloat(value) ? floatText(numberOf(value)) : String(value);
  if (value instanceof Tuple) return `(${value.map(repr).join(', ')}${value.length === 1 ? ',' : ''})`;
  if (Array.isArray(value)) return `[${value.map(repr).join(', ')}]`;
  if (value instanceof Map) return `{${[...value].map(([key, item]) => `${repr(key)}: ${repr(item)}`).join(', ')}}`;
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof Lazy || value instanceof Callable)
    throw new JinjaError(
      `a ${typeName(value)} is written; its text is an address in memory. Use it with list, or call it`,
    );
  if (value.type === 'Namespace')
    return `<Namespace {${[...value.attributes].map(([key, item]) => `${quote(key)}: ${repr(item)}`).join(', ')}}>`;
  throw new JinjaError(`a ${value.type} is written; it has no text`);
}

/** The shortest digits that give the number again, with an exponent below 1e-4 and from 1e16 on. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (Object.is(value, -0)) return '-0.0';
  const [digits, power] = value.toExponential().split('e');
  const exponent = Number(power);
  if (value !== 0 && (exponent < -4 || exponent >= 16)) {
    const size = String(Math.abs(exponent)).padStart(2, '0');
    return `${digits}e${exponent < 0 ? '-' : '+'}${size}`;
  }
  if (Number.isInteger(value)) return `${BigInt(value)}.0`;
  return String(value);
}

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(/[\p{C}\p{Z}\\'"]/gu, (char) => {
    if (char === ' ') return char;
    if (char === mark) return `\\${char}`;
    if (char === "'" || char === '"') return char;
    if (char in ESCAPES) return ESCAPES[char];
    const code = char.codePointAt(0)!;
    const hex = code.toString(16);
    return code < 256
      ? `\\x${hex.padStart(2, '0')}`
      : code < 65536
        ? `\\u${hex.padStart(4, '0')}`
        : `\\U${hex.padStart(8, '0')}`;
  });
  return mark + escaped + mark;
}

export interface JsonOptions {
  readonly ensureAscii: boolean;
  /** What one level is indented by; null for one line. */
  readonly indent: string | null;
  readonly separators: readonly [string, string] | null;
  readonly sortKeys: boolean;
}

/** @throws JinjaError for what has no JSON. */
export function json(value: Value, options: JsonOptions, depth = 0): string {
  const { indent, sortKeys } = options;
  const [comma, colon] = options.separators ?? [indent === null ? ', ' : ',', ': '];
  if (value === null) return 'null';
  if (typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return jsonText(value, options.ensureAscii);
  if (value instanceof Float || typeof value === 'number') return jsonNumber(value);
  const wrap = (open: string, parts: string[], close: string): string => {
    if (parts.length === 0) return open + close;
    if (indent === null) return open + parts.join(comma) + close;
    const inner = `\n${indent.repeat(depth + 1)}`;
    return `${open + inner + parts.join(comma + inner)}\n${indent.repeat(depth)}${close}`;
  };
  if (Array.isArray(value))
    return wrap(
      '[',
      value.map((item) => json(item, options, depth + 1)),
      ']',
    );
  if (value instanceof Map) {
    const entries = [...value].map(([key, item]) => [jsonKey(key), item] as const);
    if (sortKeys) entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    const parts = entries.map(
      ([key, item]) => jsonText(key, options.ensureAscii) + colon + json(item, options, depth + 1),
    );
    return wrap('{', parts, '}');
  }
  throw new JinjaError(`TypeError: Object of type ${typeName(value)} is not JSON serializable`);
}

function jsonNumber(value: Float | number): string {
  const plain = numberOf(value);
  if (Number.isNaN(plain)) return 'NaN';
  if (!Number.isFinite(plain)) return plain > 0 ? 'Infinity' : '-Infinity';
  return repr(value);
}

function jsonKey(key: Value): string {
  if (typeof key === 'string') return key;
  if (key === null || typeof key === 'boolean') return String(key);
  if (isNumeric(key)) return repr(key);
  throw new JinjaError(`TypeError: keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function jsonText(text: string, ensureAscii: boolean): string {
  // JSON.stringify escapes halves of pairs as well, which Python leaves alone; they can't be encoded anyway.
  const quoted = JSON.stringify(text);
  if (!ensureAscii) return quoted;
  return quoted.replace(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
