import { readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { absent } from '../contract/faults.ts';
import type { App } from './context.ts';

/** What people open in a browser: one document for every page, and its parts by names that change with them. */
export type Pages = { readonly document: Buffer; readonly assets: ReadonlyMap<string, Asset> };
type Asset = { readonly mediaType: string; readonly bytes: Buffer };

const mediaTypes: Readonly<Record<string, string>> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/**
 * Scripts and styles of this server's own files alone, no frames, no forms or connections to elsewhere, and no text that
 * becomes markup. What the pages do, they do by the documented routes.
 */
export const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

/** The paths that are pages. */
export const pagePaths = [
  '/',
  '/login',
  '/invitation',
  '/reset',
  '/authorize',
  '/device',
  '/account',
  '/terminals',
  '/terminal',
  '/replay',
] as const;

/** Reads what the build made; everything is in memory afterwards, whatever becomes of the folder. */
export function readPages(folder: string): Pages {
  const assets = new Map<string, Asset>();
  for (const name of readdirSync(join(folder, 'assets'))) {
    const mediaType = mediaTypes[extname(name)];
    if (mediaType !== undefined)
      assets.set(name, { mediaType, bytes: readFileSync(join(folder, 'assets', name)) });
  }
  return { document: readFileSync(join(folder, 'index.html')), assets };
}

/** Not of the API, so not in its document. Whoever opens a page is nobody yet: the page finds out. */
export function pageRoutes(app: App, { document, assets }: Pages): void {
  for (const url of pagePaths)
    app.route({
      method: 'GET',
      url,
      config: { open: true },
      schema: { hide: true },
      handler: async (_request, reply) => {
        (reply as FastifyReply)
          .headers({ 'content-security-policy': pagePolicy, 'content-type': 'text/html; charset=utf-8' })
          .send(document);
      },
    });
  app.route({
    method: 'GET',
    url: '/assets/:name',
    config: { open: true },
    schema: { hide: true },
    handler: async (request, reply) => {
      const asset = assets.get(((request as FastifyRequest).params as { name: string }).name);
      if (asset === undefined) throw absent('page');
      (reply as FastifyReply)
        .headers({
          'cache-control': 'public, max-age=31536000, immutable',
          'content-type': asset.mediaType,
        })
        .send(asset.bytes);
    },
  });
}
