import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { readRequests } from '../batch/batch-lines.ts';
import { offlineRequests } from '../batch/offline-lines.ts';
import { UsageError } from '../failure.ts';
import { makeFolderFor } from './targets.ts';
import { readGivenFile, readGivenJson, readTextFile } from './text-file.ts';

const folder = await tempFolder('text-file');
const MARK = '\uFEFF';

it('leaves the byte order mark of a file out, and refuses what is no UTF-8', async () => {
  const path = join(folder, 'template.jinja');
  await writeFile(path, `${MARK}a${MARK}b`);
  expect(await readTextFile(path)).toBe(`a${MARK}b`);
  // What PowerShell's > writes.
  await writeFile(path, `${MARK}text`, 'utf16le');
  await expect(readTextFile(path)).rejects.toThrow('it is not UTF-8 text; save it as UTF-8');
});

it('reads requests that an editor on Windows has written', async () => {
  const path = join(folder, 'requests.jsonl');
  await writeFile(path, `${MARK}{"id": "a", "prompt": "And"}\r\n\r\n{"id": "b", "prompt": "In"}\r\n`);
  expect((await readRequests(path)).map(({ id }) => id)).toEqual(['a', 'b']);
  const line = (id: string) =>
    JSON.stringify({ custom_id: id, method: 'POST', url: '/v1/completions', body: { model: 'm', prompt: 'And' } });
  await writeFile(path, `${MARK}${line('a')}\r\n\r\n${line('b')}\r\n`);
  const ids: string[] = [];
  for await (const { custom_id } of offlineRequests(path)) ids.push(custom_id);
  expect(ids).toEqual(['a', 'b']);
});

it('says in words why a file can not be read', async () => {
  const lost = join(folder, 'lost');
  const told = (call: Promise<unknown>) => call.then(String, (error: Error) => [error.constructor, error.message]);
  const readers = [readGivenFile, readGivenJson, (path: string) => offlineRequests(path).next()] as const;
  for (const read of readers) {
    expect(await told(read(lost))).toEqual([UsageError, `${lost} does not exist`]);
    expect(await told(read(folder))).toEqual([UsageError, `${folder} is a folder, not a file`]);
  }
  expect(await told(readRequests(lost))).toEqual([UsageError, `--prompts ${lost} does not exist`]);
  const empty = join(folder, 'empty');
  await writeFile(empty, '');
  expect(await told(readGivenJson(empty, `--json-schema ${empty}`))).toEqual([
    UsageError,
    `--json-schema ${empty} is not JSON: Unexpected end of JSON input`,
  ]);
  await expect(makeFolderFor(`-o ${empty}`, empty)).rejects.toThrow(
    `-o ${empty}: the folder ${empty} can't be made: there is a file of this name`,
  );
  await expect(makeFolderFor('-o x', join(empty, 'x'))).rejects.toThrow(/: a part of the path is a file$/);
});
