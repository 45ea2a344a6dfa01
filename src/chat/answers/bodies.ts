/**
 * @file What stands between the markers of calls, in each of the forms that models write.
 */
import { isObject } from '../../util/json/is-object.ts';
import { GEMMA, LiteralError, LiteralReader, PYTHON } from './literals.ts';

/** A call of a tool. */
export interface ToolCall {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

/** The JSON schemas of tools' arguments, by the tools' names. */
export type ToolSchemas = ReadonlyMap<string, unknown>;

/** Reads calls. @returns null for a text that holds none, or anything besides calls. */
type ReadCalls = (text: string, tools: ToolSchemas | null) => ToolCall[] | null;

export type CallBody = keyof typeof BODIES;

const BODIES = {
  /** An object with name and arguments, a list of such objects, or several with `;` between them. */
  json(text) {
    const json = parsed(text);
    if (json !== undefined) return all((Array.isArray(json) ? json : [json]).map(callOf));
    const parts = text.split(/;\s*(?=\{)/);
    return parts.length > 1 ? all(parts.map((part) => callOf(parsed(part)))) : null;
  },
  /** A name, markers, and the arguments as JSON. */
  named(text) {
    const found =
      /^\s*([\w.-]+)\s*(?:\[CALL_ID\]\w+)?(?:\[ARGS\]|(?:<\|channel\|>\w+)?\s*(?:<\|constrain\|>\s*)?(?:json)?\s*<\|message\|>)([\s\S]*)$/.exec(
        text,
      );
    return found && all([namedCall(found[1], found[2])]);
  },
  /** DeepSeek's: version 3 puts the arguments into a fence of code, 3.1 does not. */
  deepseek(text) {
    const pattern =
      /\s*<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>([\w.-]+)\s*```json\s*([\s\S]*?)\s*```|([\w.-]+)<｜tool▁sep｜>([\s\S]*?))\s*<｜tool▁call▁end｜>\s*/y;
    const calls: (ToolCall | null)[] = [];
    while (pattern.lastIndex < text.length) {
      const found = pattern.exec(text);
      if (!found) return null;
      calls.push(namedCall(found[1] ?? found[3], found[2] ?? found[4]));
    }
    return all(calls);
  },
  /** `<function=NAME>` with `<parameter=KEY>` for each argument. */
  xml(text, tools) {
    const found = /^\s*<function=([^>\s]+)>([\s\S]*?)(?:<\/function>)?\s*$/.exec(text);
    if (!found) return null;
    return fieldsOf(found[1], found[2], /\s*<parameter=([^>]+)>\n?([\s\S]*?)\n?<\/parameter>\s*/y, tools);
  },
  /** A name, then pairs of `<arg_key>` and `<arg_value>`. */
  pairs(text, tools) {
    const found = /^\s*([\w.-]+)\s*([\s\S]*)$/.exec(text);
    if (!found) return null;
    const pattern = /\s*<arg_key>([^<]+)<\/arg_key>\s*<arg_value>([\s\S]*?)<\/arg_value>\s*/y;
    return fieldsOf(found[1], found[2], pattern, tools);
  },
  /** Calls as Python writes them, with or without brackets around all of them. */
  python: (text) =>
    literal(() => {
      const reader = new LiteralReader(text, PYTHON);
      const calls: ToolCall[] = [];
      const call = () => {
        const name = reader.name();
        reader.expect('(');
        calls.push({ name, arguments: reader.fields(')', '=') });
      };
      if (reader.take('[')) reader.list(']', call);
      else while (!reader.atEnd) call();
      return reader.atEnd ? calls : null;
    }),
  /** FunctionGemma's: `call:NAME{key:value}`. */
  gemma: (text) =>
    literal(() => {
      const reader = new LiteralReader(text, GEMMA);
      reader.expect('call:');
      const name = reader.name();
      reader.expect('{');
      const call = { name, arguments: reader.fields('}', ':') };
      return reader.atEnd ? [call] : null;
    }),
} satisfies Readonly<Record<string, ReadCalls>>;

/**
 * The calls that a text between markers holds.
 * @param tools null: all names are known.
 * @returns null where it is no call, or one of an unknown tool.
 */
export function readCalls(body: CallBody, text: string, tools: ToolSchemas | null): ToolCall[] | null {
  const calls = (BODIES as Readonly<Record<CallBody, ReadCalls>>)[body](text, tools);
  if (!calls || calls.length === 0) return null;
  return calls.every(({ name }) => tools?.has(name) ?? true) ? calls : null;
}

/** undefined: no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function callOf(value: unknown): ToolCall | null {
  if (!isObject(value)) return null;
  const name = value['name'] ?? value['tool_name'];
  const given = value['arguments'] ?? value['parameters'] ?? {};
  // Some models write the arguments as a text of JSON.
  const args = typeof given === 'string' ? parsed(given) : given;
  return typeof name === 'string' && name !== '' && isObject(args) ? { name, arguments: args } : null;
}

function namedCall(name: string, text: string): ToolCall | null {
  const args = text.trim() === '' ? {} : parsed(text);
  return isObject(args) ? { name, arguments: args } : null;
}

/** All of them; null where one is missing. */
function all(calls: readonly (ToolCall | null)[]): ToolCall[] | null {
  const there = calls.filter((call) => call !== null);
  return there.length === calls.length ? there : null;
}

/** A call whose arguments are texts, which become values by the tool's schema. */
function fieldsOf(name: string, text: string, pattern: RegExp, tools: ToolSchemas | null): ToolCall[] | null {
  const schema = tools?.get(name);
  const properties = isObject(schema) ? schema['properties'] : undefined;
  const fields: [string, unknown][] = [];
  pattern.lastIndex = 0;
  while (text.slice(pattern.lastIndex).trim() !== '') {
    const found = pattern.exec(text);
    if (!found) return null;
    fields.push([found[1], valueOfText(found[2], isObject(properties) ? properties[found[1]] : undefined)]);
  }
  return [{ name, arguments: Object.fromEntries(fields) }];
}

function valueOfText(text: string, schema: unknown): unknown {
  const type = isObject(schema) ? schema['type'] : undefined;
  if (type === 'string') return text;
  const word = { True: true, False: false, None: null }[text.trim()];
  const value = word === undefined ? parsed(text) : word;
  return value === undefined ? text : value;
}

function literal(read: () => ToolCall[] | null): ToolCall[] | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof LiteralError) return null;
    throw error;
  }
}
