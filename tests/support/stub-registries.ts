import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type PresetName, presetRules } from '../../src/model/egress-presets.ts';
import type { Site } from './stub-sites.ts';

/** Stubs of what programs fetch packages from, at the names that a preset lets through. */

const installed = join(import.meta.dirname, '..', '..', 'node_modules');
const packedBytesMax = 64 * 1024 * 1024;

export function presetHosts(name: PresetName): string[] {
  return presetRules(name).flatMap(({ target }) => ('host' in target ? [target.host] : []));
}

type Manifest = { readonly version: string; readonly dependencies?: Readonly<Record<string, string>> };
type Packed = { readonly manifest: Manifest; readonly tarball: Buffer; readonly integrity: string };

/** A package that this repository depends on, packed with all that it needs itself. */
function packed(name: string, into = new Map<string, Packed>()): Map<string, Packed> {
  if (into.has(name)) return into;
  const manifest = JSON.parse(readFileSync(join(installed, name, 'package.json'), 'utf8')) as Manifest;
  const words = ['-czf', '-', '-C', installed, '--transform', `s,^${name},package,`, name];
  const tarball = execFileSync('tar', words, { maxBuffer: packedBytesMax });
  const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`;
  into.set(name, { manifest, tarball, integrity });
  for (const dependency of Object.keys(manifest.dependencies ?? {})) packed(dependency, into);
  return into;
}

/** An npm registry with one package and what it needs, and the files of a project that is locked to them. */
export function npmRegistry(wanted: string): {
  readonly site: Site;
  readonly files: Readonly<Record<string, string>>;
  readonly count: number;
} {
  const packages = packed(wanted);
  const [host] = presetHosts('npm');
  const tarballOf = (name: string, version: string) => `/${name}/-/${name}-${version}.tgz`;
  const pages = new Map<string, string | Buffer>();
  const locked: Record<string, object> = {};
  for (const [name, { manifest, tarball, integrity }] of packages) {
    const { version, dependencies = {} } = manifest;
    const dist = { tarball: `https://${host}${tarballOf(name, version)}`, integrity };
    const versions = { [version]: { name, version, dependencies, dist } };
    pages.set(`/${name}`, JSON.stringify({ name, 'dist-tags': { latest: version }, versions }));
    pages.set(tarballOf(name, version), tarball);
    locked[`node_modules/${name}`] = { version, integrity, dependencies };
  }
  const project = { name: 'project', version: '1.0.0' };
  const dependencies = { [wanted]: packages.get(wanted)!.manifest.version };
  const lock = {
    ...project,
    lockfileVersion: 3,
    packages: { '': { ...project, dependencies }, ...locked },
  };
  return {
    site: ({ url }) => pages.get(decodeURIComponent(url ?? '')) ?? null,
    files: {
      'package.json': JSON.stringify({ ...project, dependencies }),
      'package-lock.json': JSON.stringify(lock),
    },
    count: packages.size,
  };
}

const wheelScript = `
import io, sys, zipfile
info = "stub_package-1.0.dist-info/"
files = {
    "stub_package.py": "answer = 42\\n",
    info + "METADATA": "Metadata-Version: 2.1\\nName: stub-package\\nVersion: 1.0\\n",
    info + "WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    info + "RECORD": "",
}
wheel = io.BytesIO()
with zipfile.ZipFile(wheel, "w") as archive:
    for name, text in files.items():
        archive.writestr(name, text)
sys.stdout.buffer.write(wheel.getvalue())
`;

/** A Python index and the host of its files, with `stub-package` alone. */
export function pythonIndex(): Readonly<Record<string, Site>> {
  const [index, files] = presetHosts('pypi') as [string, string];
  const name = 'stub_package-1.0-py3-none-any.whl';
  const wheel = execFileSync('/usr/bin/python3', ['-c', wheelScript]);
  const link = `<a href="https://${files}/${name}">${name}</a>`;
  return {
    [index]: ({ url }) => (url === '/simple/stub-package/' ? `<!DOCTYPE html><html>${link}</html>` : null),
    [files]: ({ url }) => (url === `/${name}` ? wheel : null),
  };
}

/** A Debian repository without folders, with `stub-package` alone. */
export function debianRepository(): Site {
  const deb = Buffer.from('what apt only carries\n');
  const sha256 = (bytes: string | Buffer) => createHash('sha256').update(bytes).digest('hex');
  const packages = [
    ...['Package: stub-package', 'Version: 1.0', 'Architecture: all', 'Maintainer: nobody'],
    ...[
      'Filename: ./stub-package.deb',
      `Size: ${deb.length}`,
      `SHA256: ${sha256(deb)}`,
      'Description: stub\n\n',
    ],
  ].join('\n');
  const release = `Suite: stub\nSHA256:\n ${sha256(packages)} ${packages.length} Packages\n`;
  const pages: Readonly<Record<string, string | Buffer>> = {
    '/debian/./Release': release,
    '/debian/./Packages': packages,
    '/debian/./stub-package.deb': deb,
  };
  return ({ url }) => pages[url ?? ''] ?? pages[(url ?? '').replace('/debian/', '/debian/./')] ?? null;
}
