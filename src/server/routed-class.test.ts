/**
 * A class of caches whose slots are distributed by a calibration.
 */
import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { post, servedModel } from '../../test/support/served.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { loadModel } from '../node.ts';
import { createApp } from './app.ts';

it('serves a class with routed, whose groups differ in their slots, once the model is calibrated', async () => {
  await using model = await loadModel('keyhold/tiny', { cacheDir: await tempFolder('routed-class'), threads: 1 });
  const cacheClasses = [{ name: 'default', options: { policy: 'routed', cacheLength: 20, length: 200 } }] as const;
  const { one, losses } = servedModel(model, { cacheClasses, sessions: 4 });
  const app = createApp({ models: [one] });
  const ask = (session: string, prompt = 'In the beginning') =>
    app.fetch(post('/v1/completions', { model: 'tiny', prompt, max_tokens: 60, temperature: 0, session_id: session }));

  const refused = await ask('early');
  expect(refused.status).toBe(400);
  expect((await refused.json()).error.message).toContain('routed needs a calibration of the model');

  const text = (await readFile('models/tiny/validation.txt', 'utf8')).slice(0, 1500);
  await model.calibrate({ texts: [text], length: 64 });
  const [first, second] = await Promise.all(['a', 'b'].map(async (name) => (await ask(name)).json()));
  expect(first.choices[0].text.length).toBeGreaterThan(20);
  expect(second.choices[0].text).toBe(first.choices[0].text);

  const { data } = await (await app.fetch(new Request('http://localhost/caches'))).json();
  expect(data).toHaveLength(2);
  for (const { policy } of data) expect(policy).toBe('routed');
  const path = 'http://localhost/caches/contents?model=tiny&cache=default&session=a';
  const { contents } = await (await app.fetch(new Request(path))).json();
  const slots = contents.layerGroups.flatMap(({ groups }: { groups: { positions: number[] }[] }) =>
    groups.map(({ positions }) => positions.length),
  );
  expect(new Set(slots).size).toBeGreaterThan(1);
  expect(slots.reduce((a: number, b: number) => a + b, 0)).toBeLessThanOrEqual(20 * slots.length);
  expect(losses).toEqual([]);
});
