import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { InputError } from '../../util/errors.ts';
import { ResultFile, readRequests } from './batch-lines.ts';

const folder = await tempFolder('batch-lines');

it('takes messages whose content is a list of parts, null or not there, as the library does', async () => {
  const path = join(folder, 'prompts.jsonl');
  const messages = [
    { role: 'user', content: [{ type: 'text', text: 'How warm is it?' }] },
    { role: 'assistant', content: null, tool_calls: [{ function: { name: 'weather', arguments: {} } }] },
    { role: 'assistant' },
  ];
  await writeFile(path, JSON.stringify({ messages }));
  expect((await readRequests(path))[0].messages).toEqual(messages);
  await writeFile(path, '{"messages": [{"role": "user", "content": 5}]}');
  await expect(readRequests(path)).rejects.toThrow(/line 1: messages\.0\.content must be a string or an array/);
});

it.runIf(process.platform === 'linux')(
  'does not read a device, and says that a full disk refuses a result',
  async () => {
    const file = await ResultFile.open('/dev/full', []);
    const line = { id: 1, prompt: 'x', error: { name: 'Error', message: 'x' } };
    const refused = expect(file.append(line)).rejects;
    await refused.toThrow(/^--out \/dev\/full can't be written: ENOSPC/);
    await refused.toBeInstanceOf(InputError);
    await file.close();
  },
);
