/**
 * @file The worker of a model whose graphics card is lost when the page says so.
 */
import '../../src/web/thread.ts';

interface Device {
  destroy(): void;
}
const { GPUAdapter } = globalThis as unknown as {
  GPUAdapter: { prototype: { requestDevice(this: unknown, request: object): Promise<Device> } };
};
const { requestDevice } = GPUAdapter.prototype;
let devices = 0;
let last: Device | undefined;
GPUAdapter.prototype.requestDevice = async function (request) {
  last = await requestDevice.call(this, request);
  devices++;
  return last;
};
const channel = new BroadcastChannel('device');
channel.onmessage = ({ data }) => {
  if (data !== 'lose') return;
  last?.destroy();
  channel.postMessage(devices);
};
