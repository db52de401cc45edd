"""File systems whose locks other machines do not see are known by how they are mounted."""

from pathlib import Path

import pytest

from dicomsort.system.mounts import mount_of

TABLE = """\
/dev/sda1 / ext4 rw,relatime 0 0
head:/export /data nfs4 rw,vers=4.2,local_lock=none,addr=10.0.0.1 0 0
head:/old /data/old nfs rw,vers=3,local_lock=all,addr=10.0.0.1 0 0
head:/flock /flock nfs rw,vers=3,local_lock=flock 0 0
me@head:/x /home/me/my\\040mount fuse.sshfs rw,nosuid 0 0
lustre /lustre lustre rw,flock 0 0
lustre /scratch lustre rw,localflock 0 0
//nas/share /nas cifs rw,nobrl 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind", "why"),
    [
        ("/srv/out", "ext4", ""),
        ("/data/new", "nfs4", ""),
        ("/data/old/out", "nfs", "nfs with local_lock=all"),
        ("/database", "ext4", ""),
        ("/flock", "nfs", "nfs with local_lock=flock"),
        ("/home/me/my mount/out", "fuse.sshfs", "fuse.sshfs"),
        ("/lustre/out", "lustre", ""),
        ("/scratch/out", "lustre", "lustre with localflock"),
        ("/nas/out", "cifs", "cifs with nobrl"),
    ],
)
def test_the_mount_tells(folder: str, kind: str, why: str, tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text(TABLE)
    mount = mount_of(folder, str(table))
    assert (mount.kind, mount.lonely) == (kind, why)


def test_without_a_table_nothing_is_known(tmp_path: Path) -> None:
    assert mount_of(str(tmp_path), str(tmp_path / "none")).lonely == ""
