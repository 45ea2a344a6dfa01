/**
 * @file The picture of a cache as a file: with what it shows, and what its colours mean.
 */
import { byId, element } from './dom.ts';

const [MARGIN, LINE] = [12, 20];

/** Lets the browser save a picture. @param texts are written above it. @throws Error where the browser can't make one. */
export async function savePicture(picture: HTMLCanvasElement, texts: readonly string[], name: string): Promise<void> {
  const scale = devicePixelRatio || 1;
  const { color, fontFamily } = getComputedStyle(picture);
  const { backgroundColor } = getComputedStyle(document.body);
  const top = MARGIN + texts.length * LINE;
  const file = element('canvas');
  file.width = picture.width + 2 * MARGIN * scale;
  file.height = picture.height + (top + 2 * MARGIN + LINE) * scale;
  const g = file.getContext('2d')!;
  g.fillStyle = backgroundColor;
  g.fillRect(0, 0, file.width, file.height);
  g.drawImage(picture, MARGIN * scale, top * scale);
  g.scale(scale, scale);
  g.font = `14px ${fontFamily}`;
  g.textBaseline = 'top';
  g.fillStyle = color;
  const width = picture.width / scale;
  for (const [i, text] of texts.entries()) g.fillText(text, MARGIN, MARGIN + i * LINE, width);
  let x = MARGIN;
  const y = top + picture.height / scale + MARGIN;
  for (const entry of byId('caches').querySelectorAll('.legend li')) {
    const colour = entry.querySelector('i');
    if (colour) {
      g.fillStyle = getComputedStyle(colour).backgroundColor;
      g.fillRect(x, y + 1, 12, 12);
      x += 17;
    }
    g.fillStyle = color;
    g.fillText(entry.textContent!, x, y);
    x += g.measureText(entry.textContent!).width + 14;
  }
  const blob = await new Promise<Blob | null>((done) => file.toBlob(done));
  if (!blob) throw new Error('the browser could not make a file of the picture');
  const link = element('a', { href: URL.createObjectURL(blob), download: name.replace(/[^\w.-]+/g, '-') });
  link.click();
  // Some browsers read it after the click.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
