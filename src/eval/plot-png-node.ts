/**
 * @file Pictures as PNG files, by the package @resvg/resvg-js, which users install themselves.
 */
import { checkText } from '../util/arguments.ts';
import { InputError } from '../util/errors.ts';
import { shown } from '../util/option-names.ts';

const NEEDED = 'an SVG document as a string';

/** What of @resvg/resvg-js is used: types of a package that may not be installed can't be in those of this one. */
interface ResvgPackage {
  readonly Resvg: new (
    svg: string,
    options: { readonly fitTo: { readonly mode: 'zoom'; readonly value: number } },
  ) => { getBBox(): object | undefined; render(): { asPng(): Uint8Array } };
}

/** Any text: without a font it would be drawn as nothing, silently. */
const LETTERS =
  '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" font-family="sans-serif"><text y="9">x</text></svg>';

/**
 * Draws an SVG document of `plotComparison` or `plotCalibration`.
 * @param scale pixels of the picture for each unit of the document. @default 2
 * @throws InputError where @resvg/resvg-js is not installed, or the machine has no font; for what is no SVG document.
 */
export async function plotPng(svg: string, scale = 2): Promise<Uint8Array> {
  checkText('plotPng', NEEDED, svg);
  if (!(scale > 0 && scale <= 16)) throw new InputError(`scale must be above 0 and at most 16, but is ${scale}`);
  const { Resvg } = await loadResvg();
  const options = { fitTo: { mode: 'zoom', value: scale } } as const;
  if (!new Resvg(LETTERS, options).getBBox())
    throw new InputError('a PNG picture needs a font, and this machine has none; write an SVG file');
  try {
    return new Resvg(svg, options).render().asPng();
  } catch (cause) {
    throw new InputError(`plotPng needs ${NEEDED}, but got ${shown(svg)}: ${(cause as Error).message}`, { cause });
  }
}

/** @throws InputError where it is not installed. */
async function loadResvg(): Promise<ResvgPackage> {
  try {
    return await import('@resvg/resvg-js');
  } catch (cause) {
    throw new InputError(
      'PNG pictures need the package @resvg/resvg-js: npm install @resvg/resvg-js, or write an SVG file',
      { cause },
    );
  }
}
