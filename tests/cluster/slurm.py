"""A real SLURM of one host on loopback: munge, slurmctld and slurmd on free ports, with GPUs that are `/dev/null`."""

import getpass
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr", "sshare", "salloc")
DATABASE_DAEMONS = ("slurmdbd", "mariadbd")
PATIENCE = 180
"""Seconds that a daemon has to come up."""


def why_not(database: bool = False) -> str | None:
    """Why no cluster can be started here; None where one can."""
    missing = [name for name in DAEMONS + DATABASE_DAEMONS * database if _find(name) is None]
    if missing:
        return (
            f"{', '.join(missing)} not installed (Debian: slurmctld slurmd slurm-client munge slurmdbd mariadb-server)"
        )
    return None if os.geteuid() == 0 else "slurmd has to be started by root"


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/sbin")


class Slurm:
    """A cluster in a folder, up inside the block.

    with Slurm(folder, cpus=4, gpus=2) as slurm:
        subprocess.run(["sbatch", ...], env=os.environ | slurm.environment)
    """

    def __init__(
        self,
        folder: Path,
        cpus: int = 4,
        gpus: int = 2,
        memory: int = 20000,
        minutes: int = 1440,
        database: bool = False,
        **settings: object,
    ) -> None:
        """A node of `memory` megabytes, whose jobs may take `minutes`; `settings` are lines of slurm.conf that differ
        from those below."""
        self.folder, self.database = folder, database
        self._daemons: list[subprocess.Popen] = []
        self.node, self.cpus, self.gpus, self.memory = socket.gethostname().split(".")[0], cpus, gpus, memory
        self.ports = _free_ports(4)
        self.minutes, self.settings = minutes, settings

    @property
    def environment(self) -> dict[str, str]:
        """What commands need to find this cluster and no other."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def __enter__(self) -> "Slurm":
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        for name in ("state", "spool", "munge", "mysql", "bin"):
            (self.folder / name).mkdir(exist_ok=True)
        self._wrap_clients()
        try:
            self._start_munge()
            if self.database:
                self._start_database()
            self._configure()
            self.start_controller()
            self.start_node()
            self._wait_for(lambda: "idle" in self.run("sinfo", "-h", "-o", "%t").stdout, "the node")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()

    def run(self, *command: str, **options: object) -> subprocess.CompletedProcess:
        """Run a command of SLURM's on this cluster."""
        return subprocess.run(
            command, env=os.environ | self.environment, text=True, capture_output=True, timeout=60, **options
        )

    def queue(self, form: str = "%i %T %j") -> list[str]:
        """The jobs that are not over, a line each."""
        return self.run("squeue", "-h", "-o", form).stdout.splitlines()

    def start_controller(self) -> subprocess.Popen:
        """Start slurmctld."""
        return self._start("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))

    def start_node(self) -> subprocess.Popen:
        """Start slurmd."""
        return self._start("slurmd", "-D", "-N", self.node, "-f", str(self.folder / "slurm.conf"))

    def lose_node(self) -> None:
        """Kill slurmd and everything that runs under it, as when a machine loses its power."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes()
                name = (process / "comm").read_text().strip()
            except OSError:
                continue
            ours = str(self.folder).encode() in environment
            if ours and (
                (name.startswith(("slurmd", "slurmstepd")) and name != "slurmdbd") or b"SLURM_JOB_ID=" in environment
            ):
                with suppress(ProcessLookupError):
                    os.kill(int(process.name), signal.SIGKILL)

    def _start(self, name: str, *arguments: str, **options: object) -> subprocess.Popen:
        log = open(self.folder / f"{name}.out", "ab")  # noqa: SIM115 - handed on to the daemon
        with log:
            daemon = subprocess.Popen(
                [_find(name), *arguments],
                stdout=log,
                stderr=log,
                env=os.environ | self.environment,
                start_new_session=True,
                **options,
            )
        self._daemons.append(daemon)
        return daemon

    def _wait_for(self, condition, what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in self._daemons):
                logs = "\n".join(
                    f"{path.name}: {path.read_text(errors='replace')[-2000:]}" for path in self.folder.glob("*.out")
                )
                raise RuntimeError(f"{what} did not come up in {PATIENCE} s\n{logs}")
            time.sleep(0.1)

    def _wrap_clients(self) -> None:
        """Commands that know this cluster: inside a job, Snakemake's plugin takes all of SLURM's variables away."""
        for name in CLIENTS:
            wrapper = self.folder / "bin" / name
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF="{self.folder}/slurm.conf" exec "{_find(name)}" "$@"\n')
            wrapper.chmod(0o755)

    @property
    def _socket(self) -> Path:
        return self.folder / "munge" / "socket"

    def _start_munge(self) -> None:
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        places = {
            "--socket": self._socket,
            "--key-file": key,
            "--pid-file": self.folder / "munge" / "pid",
            "--log-file": self.folder / "munge" / "log",
            "--seed-file": self.folder / "munge" / "seed",
        }
        self._start("munged", "--foreground", "--force", *(f"{option}={path}" for option, path in places.items()))
        self._wait_for(self._socket.exists, "munge")

    def _start_database(self) -> None:
        """MariaDB and slurmdbd, and in it this cluster."""
        data, mysql = self.folder / "mysql", self.folder / "mysql.socket"
        user = getpass.getuser()
        subprocess.run(
            ["mariadb-install-db", f"--datadir={data}", f"--user={user}", "--auth-root-authentication-method=socket"],
            check=True,
            capture_output=True,
        )
        port = self.ports[2]
        options = (f"--datadir={data}", f"--socket={mysql}", f"--port={port}", "--bind-address=127.0.0.1")
        self._start("mariadbd", "--no-defaults", f"--user={user}", f"--pid-file={data}/pid", *options)
        self._wait_for(mysql.exists, "MariaDB")
        sql = "create database slurm; grant all on slurm.* to 'slurm'@'localhost' identified by 'slurm';"
        sql += "grant all on slurm.* to 'slurm'@'127.0.0.1' identified by 'slurm';"
        subprocess.run(["mariadb", f"--socket={mysql}", "-e", sql], check=True, capture_output=True)
        conf = self.folder / "slurmdbd.conf"
        _write(
            conf,
            AuthType="auth/munge",
            AuthInfo=f"socket={self._socket}",
            DbdHost="localhost",
            DbdPort=self.ports[3],
            SlurmUser="root",
            StorageType="accounting_storage/mysql",
            StorageHost="127.0.0.1",
            StoragePort=port,
            StorageUser="slurm",
            StoragePass="slurm",
            StorageLoc="slurm",
            PidFile=self.folder / "slurmdbd.pid",
            LogFile=self.folder / "slurmdbd.log",
        )
        conf.chmod(0o600)
        # slurmdbd takes its configuration from beside SLURM_CONF.
        self._configure()
        self._start("slurmdbd", "-D")
        self._wait_for(lambda: self.run("sacctmgr", "-n", "show", "cluster").returncode == 0, "slurmdbd")
        for what in ("cluster test", "account test", "user root account=test"):
            self.run("sacctmgr", "-i", "add", *what.split())

    def _configure(self) -> None:
        accounting = {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "localhost",
            "AccountingStoragePort": self.ports[3],
            "AccountingStoragePass": self._socket,  # with munge the name means its socket
            "AccountingStoreFlags": "job_comment",
        }
        settings = {
            "ClusterName": "test",
            "SlurmctldHost": "localhost",
            "SlurmctldPort": self.ports[0],
            "SlurmdPort": self.ports[1],
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self._socket}",
            "CryptoType": "crypto/munge",
            "StateSaveLocation": self.folder / "state",
            "SlurmdSpoolDir": self.folder / "spool",
            "SlurmctldPidFile": self.folder / "slurmctld.pid",
            "SlurmdPidFile": self.folder / "slurmd.pid",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "SchedulerParameters": "bf_interval=5,batch_sched_delay=0,sched_min_interval=0,defer_batch",
            "JobAcctGatherType": "jobacct_gather/linux",
            "JobAcctGatherFrequency": "task=1",
            "JobAcctGatherParams": "OverMemoryKill",
            "SlurmdParameters": "config_overrides",  # of more processors than there are
            "ReturnToService": 2,
            "MinJobAge": 300,
            "JobRequeue": 1,
            "KillWait": 2,
            "MpiDefault": "none",
            "GresTypes": "gpu",
            "NodeName": f"{self.node} NodeAddr=127.0.0.1 CPUs={self.cpus} RealMemory={self.memory} "
            f"Gres=gpu:{self.gpus}",
            "PartitionName": f"main Nodes={self.node} Default=YES MaxTime={self.minutes} State=UP",
            **(accounting if self.database else {}),
            **self.settings,
        }
        _write(self.folder / "slurm.conf", **settings)
        files = [self.folder / f"gpu{number}" for number in range(self.gpus)]
        for file in files:
            if not file.exists():
                os.mknod(file, stat.S_IFCHR | 0o666, os.stat("/dev/null").st_rdev)
        lines = [f"NodeName={self.node} Name=gpu File={file}\n" for file in files]
        (self.folder / "gres.conf").write_text("".join(lines))


def _write(path: Path, **settings: object) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items() if value is not None))


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
