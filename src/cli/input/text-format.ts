/**
 * @file The flags that say what a text must be.
 */
import { type Command, Option } from 'commander';
import type { JsonSchema, TextFormat } from '../../index.ts';
import { notEmpty } from './options.ts';
import { readGivenJson } from './text-file.ts';

export interface FormatFlags {
  readonly jsonText?: boolean;
  readonly jsonSchema?: string;
  readonly regex?: string;
}

export function addFormatOptions(command: Command): Command {
  return command
    .optionsGroup('Form of the text:')
    .addOption(new Option('--json-text', 'the text is JSON').conflicts(['jsonSchema', 'regex']))
    .addOption(
      new Option('--json-schema <file>', 'the text is JSON that satisfies the schema in this file').conflicts('regex'),
    )
    .addOption(new Option('--regex <pattern>', 'a regular expression matches all of the text').argParser(notEmpty));
}

/** @throws UsageError for a file that can't be read, or is no JSON. */
export async function formatOf({ jsonText, jsonSchema, regex }: FormatFlags): Promise<TextFormat | undefined> {
  if (regex !== undefined) return { type: 'regex', pattern: regex };
  if (jsonSchema === undefined) return jsonText ? { type: 'json' } : undefined;
  return {
    type: 'json_schema',
    schema: (await readGivenJson(jsonSchema, `--json-schema ${jsonSchema}`)) as JsonSchema,
  };
}
