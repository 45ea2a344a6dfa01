/**
 * @file The script of a test's page: the library as a page uses it.
 */
import * as keyhold from '../../src/exports/web.ts';
import type { CountedSteps } from './counted.ts';

const load = (options: Partial<keyhold.LoadOptions> = {}, model: keyhold.ModelChoice = '/models/tiny/') =>
  keyhold.loadModel(model, {
    runtimeFiles: '/ort/',
    worker: () => new Worker('/thread.js', { type: 'module' }),
    ...options,
  });

/** What a worker of counted.ts has counted. */
const counted = () =>
  new Promise<CountedSteps>((done) => {
    const channel = new BroadcastChannel('steps');
    channel.onmessage = ({ data }) => done(data);
    channel.postMessage('count');
  });

declare global {
  var page: {
    readonly keyhold: typeof keyhold;
    readonly load: typeof load;
    readonly counted: typeof counted;
  };
}
globalThis.page = { keyhold, load, counted };
