/**
 * @file The examples in a Markdown file, or in the comments of a source file: fenced blocks of `ts`, `js` and
 * `sh`. Those of `ts` are checked for their types, too; those of `js` use other packages, which Keyhold works with.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface DocBlock {
  /** File and line, for messages. */
  readonly name: string;
  readonly language: 'ts' | 'js' | 'sh';
  readonly code: string;
  /** Why it is not run: the text of a comment `<!-- not run: … -->` on the line above. */
  readonly notRun: string | undefined;
}

/** The blocks of a file, in their order. */
export async function docBlocks(root: string, file: string): Promise<DocBlock[]> {
  const text = (await readFile(join(root, file), 'utf8')).split('\n');
  const lines = file.endsWith('.ts') ? text.map((line) => /^\s*\* ?(.*)$/.exec(line)?.[1] ?? '') : text;
  const blocks: DocBlock[] = [];
  for (let i = 0; i < lines.length; i++) {
    const fence = /^```(\w*)$/.exec(lines[i]);
    if (!fence) continue;
    const start = i + 1;
    for (i = start; i < lines.length && lines[i] !== '```'; i++);
    if (i === lines.length) throw new Error(`${file}:${start}: a block has no end`);
    const [, language] = fence;
    if (language !== 'ts' && language !== 'js' && language !== 'sh') continue;
    const notRun = /^<!-- not run: (.+) -->$/.exec(lines[start - 2] ?? '')?.[1];
    blocks.push({ name: `${file}:${start + 1}`, language, code: lines.slice(start, i).join('\n'), notRun });
  }
  return blocks;
}
