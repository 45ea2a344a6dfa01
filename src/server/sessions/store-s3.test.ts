/**
 * Sessions in S3, against a server that checks signatures and conditions as S3 does.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { S3_KEYS, S3_REGION, type S3Server, startS3 } from '../../../test/support/s3-server.ts';
import { loadChatModel, post, servedModel } from '../../../test/support/served.ts';
import type { LanguageModel } from '../../node.ts';
import { createApp } from '../app.ts';
import { type S3StoreOptions, s3Store } from './store-s3.ts';

let [s3, model]: [S3Server, LanguageModel] = [] as never;
beforeAll(async () => {
  s3 = await startS3();
  model = await loadChatModel();
});
afterAll(async () => {
  await model.dispose();
  await s3.close();
});
beforeEach(() => {
  s3.objects.clear();
  s3.requests.length = 0;
});

const store = (more: Partial<S3StoreOptions> = {}) =>
  s3Store({ bucket: 'caches', prefix: 'chat/', region: S3_REGION, endpoint: s3.url, credentials: S3_KEYS, ...more });
const bytes = (...values: number[]) => new Uint8Array(values);

describe('a store in S3', () => {
  it('gives back what it has saved, and its version', async () => {
    const one = store();
    expect([await one.version!('a'), await one.load('a')]).toEqual([null, null]);
    const version = await one.save('a', bytes(1, 2, 3), null);
    expect(version).toMatch(/^"\w+"$/);
    expect([await one.version!('a'), await one.load('a')]).toEqual([version, bytes(1, 2, 3)]);
    expect([...s3.objects.keys()]).toEqual(['/caches/chat/a.khc']);
    expect(await one.save('a', bytes(4), version)).not.toBe(version);
    expect(await one.load('a')).toEqual(bytes(4));
  });

  it('does not replace what another server has saved', async () => {
    const [one, two] = [store(), store()];
    const version = await one.save('a', bytes(1), null);
    await expect(two.save('a', bytes(2), null)).rejects.toThrow('another server');
    await two.save('a', bytes(3), version);
    await expect(one.save('a', bytes(4), version)).rejects.toThrow('another server');
    expect(await one.load('a')).toEqual(bytes(3));
    // Where the version is not known, the last one stays.
    await one.save('a', bytes(5), undefined);
    expect(await two.load('a')).toEqual(bytes(5));
  });

  it('of servers that write at the same time, one has saved', async () => {
    const results = await Promise.allSettled(Array.from({ length: 8 }, (_, i) => store().save('a', bytes(i), null)));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  it('repeats what failed for a moment, and saves where conditions are not known', async () => {
    s3.faults.push(500, 503);
    await store().save('a', bytes(1), null);
    expect(s3.requests).toEqual(Array(3).fill('PUT /caches/chat/a.khc'));
    s3.faults.push(501);
    await store({ prefix: '' }).save('b', bytes(2), null);
    expect(s3.objects.get('/caches/b.khc')).toEqual(Buffer.from([2]));
  });

  it('says what is wrong', async () => {
    const wrong = store({ credentials: { ...S3_KEYS, secretAccessKey: 'other' } });
    await expect(wrong.load('a')).rejects.toThrow('403 SignatureDoesNotMatch');
    await expect(wrong.save('a', bytes(1), null)).rejects.toThrow('refused PUT: 403');
    const gone = store({ endpoint: 'http://127.0.0.1:1', credentials: async () => S3_KEYS });
    await expect(gone.load('a')).rejects.toThrow("can't be reached: bad port");
    expect(() => store({ bucket: 'No/Bucket' })).toThrow('not the name of a bucket');
    expect(() => store({ endpoint: 'ftp://x' })).toThrow('not the address of a store');
  });
});

describe('servers with a store in S3', () => {
  const replica = () => {
    const served = servedModel(model, { store: store() });
    const app = createApp({ models: [served.one] });
    const turn = async (prompt: string) => {
      const body = { model: 'tiny', prompt, max_tokens: 8, temperature: 0, ignore_eos: true };
      const { choices, usage } = await (await app.fetch(post('/v1/completions', body, { 'x-session-id': 's' }))).json();
      await served.one.sessions.saveAll();
      return { text: prompt + choices[0].text, cached: usage.prompt_tokens_details.cached_tokens };
    };
    return { turn, losses: served.losses };
  };

  it('go on with each other’s sessions', async () => {
    const [one, two] = [replica(), replica()];
    const first = await one.turn('In the beginning God created the heaven');
    expect(first.cached).toBe(0);
    const second = await two.turn(`${first.text} and`);
    expect(second.cached).toBeGreaterThan(10);
    // The first one sees what the second one has added.
    const third = await one.turn(`${second.text} and`);
    expect(third.cached).toBeGreaterThan(second.cached + 8);
    expect([...one.losses, ...two.losses]).toEqual([]);
  });

  it('compute anew what is damaged, and replace it', async () => {
    const one = replica();
    const first = await one.turn('In the beginning God created the heaven');
    const [path, saved] = [...s3.objects][0];
    s3.objects.set(path, saved.slice(0, 100));
    const two = replica();
    expect((await two.turn(`${first.text} and`)).cached).toBe(0);
    expect(two.losses).toHaveLength(1);
    expect(s3.objects.get(path)!.length).toBeGreaterThan(1000);
    expect((await replica().turn(`${first.text} and`)).cached).toBeGreaterThan(10);
  });

  it('answer while the store is away', async () => {
    const one = replica();
    s3.faults.push(...Array(12).fill(403));
    expect((await one.turn('In the beginning')).text).not.toBe('In the beginning');
    expect(one.losses.length).toBeGreaterThan(0);
    s3.faults.length = 0;
  });
});
