import { describe, expect, it, vi } from 'vitest';
import { plotComparison } from './plot.ts';

const svg = plotComparison([
  { policy: 'dense', budget: 1, perplexity: 30, recall: {}, msPerToken: 1, cacheBytes: 10 },
  { policy: 'h2o', budget: 0.1, perplexity: 35, recall: {}, msPerToken: 1, cacheBytes: 1 },
  { policy: 'h2o', budget: 0.2, perplexity: 32, recall: {}, msPerToken: 1, cacheBytes: 2 },
]);
const [, width, height] = /width="(\d+)" height="(\d+)"/.exec(svg)!.map(Number);

describe('plotPng', () => {
  it('draws the picture, text included, as large as it is asked to', async () => {
    const { plotPng } = await import('./plot-png-node.ts');
    for (const scale of [1, 2]) {
      const png = await plotPng(svg, scale);
      const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
      expect([...png.subarray(0, 8)]).toEqual([137, 80, 78, 71, 13, 10, 26, 10]);
      expect([view.getUint32(16), view.getUint32(20)]).toEqual([scale * width, scale * height]);
    }
    const bare = await plotPng(svg.replace(/<text[^>]*>[^<]*<\/text>/g, ''));
    expect((await plotPng(svg)).length).toBeGreaterThan(1.5 * bare.length);
    await expect(plotPng(svg, 0)).rejects.toThrow('scale must be above 0');
  });

  it('names the package that is not there', async () => {
    vi.doMock('@resvg/resvg-js', () => {
      throw new Error('not found');
    });
    const { plotPng } = await import('./plot-png-node.ts');
    await expect(plotPng(svg)).rejects.toThrow('PNG pictures need the package @resvg/resvg-js: npm install');
    vi.doUnmock('@resvg/resvg-js');
  });

  it('names the font that is not there, in place of a picture without text', async () => {
    vi.doMock('@resvg/resvg-js', () => ({
      Resvg: class {
        getBBox() {
          return undefined;
        }
      },
    }));
    const { plotPng } = await import('./plot-png-node.ts');
    await expect(plotPng(svg)).rejects.toThrow('needs a font');
    vi.doUnmock('@resvg/resvg-js');
  });
});
