/**
 * @file Filters of texts, numbers and single values.
 */
import { Arguments } from './arguments.ts';
import { JinjaError } from './errors.ts';
import type { Filter, FilterScope, FilterTable, RawFilter } from './filter-types.ts';
import { formatPercent } from './format.ts';
import { LIST_FILTERS } from './list-filters.ts';
import { capitalize, replaceText, strip } from './string-methods.ts';
import {
  Float,
  floatValue,
  isFloat,
  isTrue,
  iterate,
  lengthOf,
  numberOf,
  tupleOf,
  typeName,
  Undefined,
  type Value,
} from './values.ts';
import { json, repr, str } from './write.ts';

function indent(value: Value, args: Arguments, scope: FilterScope): string {
  const width = args.has('width') ? args.need('width') : 4;
  if (typeof width !== 'string') scope.budget.spend(numberOf(width));
  const by = typeof width === 'string' ? width : ' '.repeat(Math.max(0, numberOf(width)));
  const lines = `${str(value)}\n`.split('\n').slice(0, -1);
  const withBlank = args.bool('blank', false);
  const rest = lines.slice(1).map((line) => (line === '' && !withBlank ? line : by + line));
  return scope.budget.text((args.bool('first', false) ? by : '') + [lines[0], ...rest].join('\n'));
}

function toInt(value: Value, args: Arguments): Value {
  const fallback = args.has('default') ? args.need('default') : 0;
  if (value === null || value instanceof Undefined) return value === null ? fallback : fallback;
  if (typeof value === 'string') {
    const base = args.int('base', 10);
    const text = strip(value, null).replaceAll('_', '');
    if (base !== 10) {
      const parsed = Number.parseInt(text.replace(/^0[xob]/i, ''), base);
      return Number.isNaN(parsed) ? fallback : parsed;
    }
    const number = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    return Number.isFinite(number) ? Math.trunc(number) : fallback;
  }
  const isNumber = typeof value === 'number' || typeof value === 'boolean' || value instanceof Float;
  return isNumber && Number.isFinite(numberOf(value)) ? Math.trunc(numberOf(value)) : fallback;
}

function toFloat(value: Value, args: Arguments): Value {
  const fallback = args.has('default') ? args.need('default') : new Float(0);
  if (typeof value === 'string') {
    const text = strip(value, null).replaceAll('_', '');
    return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? floatValue(Number(text)) : fallback;
  }
  const isNumber = typeof value === 'number' || typeof value === 'boolean' || value instanceof Float;
  return isNumber ? floatValue(numberOf(value)) : fallback;
}

function round(value: Value, args: Arguments): Value {
  const factor = 10 ** args.int('precision', 0);
  const scaled = numberOf(value) * factor;
  const method = args.text('method', 'common');
  if (!['common', 'ceil', 'floor'].includes(method))
    throw new JinjaError('FilterArgumentError: method must be common, ceil or floor');
  if (method !== 'common') return floatValue((method === 'ceil' ? Math.ceil(scaled) : Math.floor(scaled)) / factor);
  // Python rounds halves to the even neighbour.
  const floor = Math.floor(scaled);
  const half = scaled - floor === 0.5;
  const rounded = (half ? floor + (Math.abs(floor) % 2) : Math.round(scaled)) / factor;
  return isFloat(value) ? floatValue(rounded) : rounded;
}

function toJson(value: Value, args: Arguments, scope: FilterScope): string {
  const indented = args.get('indent');
  const separators = args.get('separators');
  const width = typeof indented === 'string' || indented === null ? 0 : Math.max(0, numberOf(indented));
  if (width > 100) throw new JinjaError(`an indent of ${width} is too wide`);
  const text = json(value, {
    ensureAscii: args.bool('ensure_ascii', false),
    indent: indented === null ? null : typeof indented === 'string' ? indented : ' '.repeat(width),
    separators: Array.isArray(separators) ? [str(separators[0]), str(separators[1])] : null,
    sortKeys: args.bool('sort_keys', false),
  });
  return scope.budget.text(text);
}

const HTML: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', "'": '&#39;', '"': '&#34;' };
const escapeHtml: Filter = (value) => str(value).replace(/[&<>'"]/g, (char) => HTML[char]);

function truncate(value: Value, args: Arguments): string {
  const [length, end, leeway] = [args.int('length', 255), args.text('end', '...'), args.int('leeway', 5)];
  const text = Array.from(str(value));
  if (text.length <= length + leeway) return str(value);
  const cut = text.slice(0, Math.max(0, length - lengthOf(end))).join('');
  if (args.bool('killwords', false)) return cut + end;
  const space = cut.lastIndexOf(' ');
  return (space < 0 ? cut : cut.slice(0, space)) + end;
}

function titleCase(value: Value): string {
  return str(value)
    .split(/([-\s({[<]+)/)
    .map(capitalize)
    .join('');
}

function fileSize(value: Value, args: Arguments): string {
  const bytes = numberOf(value);
  const isBinary = args.bool('binary', false);
  const base = isBinary ? 1024 : 1000;
  if (bytes === 1) return '1 Byte';
  if (bytes < base) return `${Math.trunc(bytes)} Bytes`;
  const units = ['k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'];
  const power = Math.min(units.length, Math.floor(Math.log(bytes) / Math.log(base)));
  const unit = isBinary ? `${units[power - 1].toUpperCase()}iB` : `${units[power - 1]}B`;
  return `${(bytes / base ** power).toFixed(1)} ${unit}`;
}

function urlEncode(value: Value): string {
  const encode = (part: Value, isPath: boolean) =>
    encodeURIComponent(str(part))
      .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
      .replace(/%2F/g, isPath ? '/' : '%2F')
      .replace(/%20/g, isPath ? '%20' : '+');
  if (typeof value === 'string') return encode(value, true);
  const pairs = value instanceof Map ? [...value] : iterate(value).map((pair) => iterate(pair));
  return pairs.map(([key, item]) => `${encode(key, false)}=${encode(item, false)}`).join('&');
}

const TEXT_FILTERS: FilterTable = {
  upper: [[], (value) => str(value).toUpperCase()],
  lower: [[], (value) => str(value).toLowerCase()],
  capitalize: [[], (value) => capitalize(str(value))],
  title: [[], titleCase],
  trim: [['chars'], (value, args) => strip(str(value), args.textOrNull('chars'))],
  string: [[], (value) => str(value)],
  safe: [[], (value) => str(value)],
  escape: [[], escapeHtml],
  forceescape: [[], escapeHtml],
  striptags: [
    [],
    (value) =>
      str(value)
        .replace(/<!--[\s\S]*?-->|<[^>]*>/g, '')
        .split(/\s+/)
        .filter((word) => word !== '')
        .join(' '),
  ],
  replace: [
    ['old', 'new', 'count'],
    (value, args, scope) => {
      const [old, fresh] = [str(args.need('old')), str(args.need('new'))];
      const count = args.get('count') === null ? -1 : args.int('count');
      return scope.budget.text(replaceText(str(value), old, fresh, count));
    },
  ],
  indent: [['width', 'first', 'blank'], indent],
  truncate: [['length', 'killwords', 'end', 'leeway'], truncate],
  center: [
    ['width'],
    (value, args, scope) => {
      const count = Math.max(0, args.int('width', 80) - lengthOf(str(value)));
      scope.budget.spend(count);
      const left = Math.floor(count / 2) + (count & args.int('width', 80) & 1);
      return ' '.repeat(left) + str(value) + ' '.repeat(count - left);
    },
  ],
  wordcount: [[], (value) => str(value).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0],
  urlencode: [[], urlEncode],
  filesizeformat: [['binary'], fileSize],
  tojson: [['ensure_ascii', 'indent', 'separators', 'sort_keys'], toJson],
  pprint: [[], (value) => repr(value)],
};

const VALUE_FILTERS: FilterTable = {
  default: [
    ['default_value', 'boolean'],
    (value, args) => {
      const fallback = args.has('default_value') ? args.need('default_value') : '';
      const isMissing = value instanceof Undefined || (args.bool('boolean', false) && !isTrue(value));
      return isMissing ? fallback : value;
    },
  ],
  abs: [[], (value) => (isFloat(value) ? floatValue(Math.abs(numberOf(value))) : Math.abs(numberOf(value)))],
  int: [['default', 'base'], toInt],
  float: [['default'], toFloat],
  round: [['precision', 'method'], round],
  items: [
    [],
    (value) => {
      if (value instanceof Undefined) return [];
      if (!(value instanceof Map))
        throw new JinjaError(`TypeError: Can only get item pairs from a mapping, not ${typeName(value)}`);
      return [...value].map(([key, item]) => tupleOf(key, item));
    },
  ],
};

const NAMED: FilterTable = { ...TEXT_FILTERS, ...VALUE_FILTERS, ...LIST_FILTERS };
const ALIASES: Readonly<Record<string, string>> = { e: 'escape', d: 'default', count: 'length' };

/** The filter of this name; undefined where there is none. */
export function namedFilter(name: string): RawFilter | undefined {
  if (name === 'format')
    return (value, args, kwargs, { budget }) =>
      budget.text(formatPercent(str(value), kwargs.size > 0 ? new Map<Value, Value>(kwargs) : tupleOf(...args)));
  const key = ALIASES[name] ?? name;
  if (!Object.hasOwn(NAMED, key)) return undefined;
  const [names, run] = NAMED[key];
  return (value, args, kwargs, scope) => run(value, new Arguments(name, names, args, kwargs), scope);
}
