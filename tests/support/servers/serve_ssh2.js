// npm's ssh2 with the SFTP handler that its users write: each request is a call of `fs`.
// One request after the other, as the draft wants it. Arguments: port, host key, who may come in, folder.
const fs = require('fs');
const path = require('path');

const [port, hostKey, userKey, folder] = process.argv.slice(2);
const { Server, utils: { parseKey, sftp: { STATUS_CODE, flagsToString } } } = require('ssh2');

const known = parseKey(fs.readFileSync(userKey));
const at = (name) => path.join(folder, path.posix.normalize(`/${name}`));
const codeOf = (error) => ({
  ENOENT: STATUS_CODE.NO_SUCH_FILE,
  ENOTDIR: STATUS_CODE.NO_SUCH_FILE,
  EACCES: STATUS_CODE.PERMISSION_DENIED,
  EPERM: STATUS_CODE.PERMISSION_DENIED,
}[error.code] ?? STATUS_CODE.FAILURE);
const attributes = (info) => ({
  mode: info.mode,
  uid: info.uid,
  gid: info.gid,
  size: info.size,
  atime: Math.floor(info.atimeMs / 1000),
  mtime: Math.floor(info.mtimeMs / 1000),
});
const named = (name, attrs = {}) => [{ filename: name, longname: name, attrs }];

function isKnown(context) {
  if (context.method !== 'publickey' || context.key.algo !== known.type) return false;
  if (!context.key.data.equals(known.getPublicSSH())) return false;
  return !context.signature || known.verify(context.blob, context.signature, context.hashAlgo) === true;
}

function serve(sftp) {
  const open = new Map();
  let last = 0;
  const handleOf = (what) => {
    const handle = Buffer.alloc(4);
    handle.writeUInt32BE(++last);
    open.set(last, what);
    return handle;
  };
  const of = (handle) => open.get(handle.readUInt32BE());
  const change = async (attrs, chmod, utimes) => {
    if (attrs.mode !== undefined) await chmod(attrs.mode & 0o7777);
    if (attrs.mtime !== undefined) await utimes(attrs.atime, attrs.mtime);
  };
  const done = (id) => sftp.status(id, STATUS_CODE.OK);
  const files = fs.promises;
  const verbs = {
    OPEN: async (id, name, flags, attrs) => {
      const text = flagsToString(flags);  // its own table, which does not have all there are
      if (text === null) throw Object.assign(new Error('flags'), { code: 'ENOENT' });
      sftp.handle(id, handleOf({ file: await files.open(at(name), text, attrs.mode ?? 0o666) }));
    },
    CLOSE: async (id, handle) => {
      const { file } = of(handle);
      open.delete(handle.readUInt32BE());
      if (file) await file.close();
      done(id);
    },
    READ: async (id, handle, offset, length) => {
      const { bytesRead, buffer } = await of(handle).file.read(Buffer.alloc(length), 0, length, offset);
      if (bytesRead) sftp.data(id, buffer.subarray(0, bytesRead)); else sftp.status(id, STATUS_CODE.EOF);
    },
    WRITE: async (id, handle, offset, data) => {
      await of(handle).file.write(data, 0, data.length, offset);
      done(id);
    },
    FSTAT: async (id, handle) => sftp.attrs(id, attributes(await of(handle).file.stat())),
    FSETSTAT: async (id, handle, attrs) => {
      const { file } = of(handle);
      await change(attrs, (mode) => file.chmod(mode), (atime, mtime) => file.utimes(atime, mtime));
      done(id);
    },
    SETSTAT: async (id, name, attrs) => {
      const place = at(name);
      await change(attrs, (mode) => files.chmod(place, mode), (a, m) => files.utimes(place, a, m));
      done(id);
    },
    LSTAT: async (id, name) => sftp.attrs(id, attributes(await files.lstat(at(name)))),
    STAT: async (id, name) => sftp.attrs(id, attributes(await files.stat(at(name)))),
    OPENDIR: async (id, name) => sftp.handle(id, handleOf({ name, names: await files.readdir(at(name)) })),
    READDIR: async (id, handle) => {
      const { name, names } = of(handle);
      if (!names.length) return sftp.status(id, STATUS_CODE.EOF);
      const listed = [];
      for (const each of names.splice(0, 50)) {
        const info = await files.lstat(path.join(at(name), each)).catch(() => null);
        if (info) listed.push(...named(each, attributes(info)));
      }
      return sftp.name(id, listed);
    },
    REMOVE: async (id, name) => { await files.unlink(at(name)); done(id); },
    RMDIR: async (id, name) => { await files.rmdir(at(name)); done(id); },
    MKDIR: async (id, name, attrs) => {
      await files.mkdir(at(name), (attrs.mode ?? 0o777) & 0o7777);
      done(id);
    },
    RENAME: async (id, old, name) => {
      const there = await files.lstat(at(name)).catch(() => null);
      if (there) throw new Error('exists');
      await files.rename(at(old), at(name));
      done(id);
    },
    REALPATH: async (id, name) => sftp.name(id, named(path.posix.normalize(`/${name}`))),
    READLINK: async (id, name) => sftp.name(id, named(await files.readlink(at(name)))),
    SYMLINK: async (id, link, target) => { await files.symlink(target, at(link)); done(id); },
  };
  let queue = Promise.resolve();
  for (const [verb, carryOut] of Object.entries(verbs)) {
    sftp.on(verb, (id, ...rest) => {
      const once = () => carryOut(id, ...rest).catch((error) => sftp.status(id, codeOf(error), error.message));
      queue = queue.then(once);
    });
  }
}

new Server({ hostKeys: [fs.readFileSync(hostKey)] }, (client) => {
  client.on('authentication', (context) => {
    if (isKnown(context)) context.accept(); else context.reject(['publickey']);
  });
  client.on('error', () => {});
  client.on('ready', () => {
    client.on('session', (accept) => accept().on('sftp', (acceptSftp) => serve(acceptSftp())));
  });
}).listen(Number(port), '127.0.0.1');
