"""`POST /load-files`: files that come ahead of the request that names them."""

import asyncio

from starlette.exceptions import HTTPException

from app.body import FORM_TYPE, UploadLimits, declared_length, held, media_type, receive_body
from app.body_budget import BodyBudget, BodyShare
from app.exchange import Exchange
from app.interface.loading import FileToLoad, read_loading_in_slices
from app.loaded_files import LoadedFiles
from app.refusals import UnsupportedMediaType
from app.settings import Settings
from model_loader.memory_file import WarmFiles
from model_loader.shared_buffer import SharedBuffer

LOAD_FILES = "/load-files"

#: Seconds after which what is too old surely is.
_LATER = 0.1


class LoadFilesRoute:
    """Takes files whatever the model does: they may come while it loads."""

    def __init__(self, loaded: LoadedFiles, settings: Settings, budget: BodyBudget, bodies: WarmFiles) -> None:
        self._loaded = loaded
        self._settings = settings
        self._upload_limits = UploadLimits.of(settings)
        self._budget = budget
        self._bodies = bodies

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.method != "POST":
            text = f"{exchange.method} means nothing here: send the files with POST, as msgpack; /docs says how."
            raise HTTPException(405, text, headers={"Allow": "POST"})
        media = media_type(exchange.headers)
        if media == FORM_TYPE:
            raise UnsupportedMediaType(
                "Files are loaded ahead as msgpack, not as a form: send a list of maps with 'content' and "
                "'content_path' as application/msgpack. A form with its files goes to /predict."
            )
        length = declared_length(exchange.headers, self._settings.max_body)
        with BodyShare(self._budget, length) as share, SharedBuffer(self._bodies, length) as body:
            await receive_body(exchange, media, body, self._upload_limits, share.grow_to)
            with held():
                await asyncio.to_thread(self._loaded.store, body, await _files_in(body))
        loop = asyncio.get_running_loop()
        loop.call_later(self._settings.load_files_age + _LATER, loop.run_in_executor, None, self._loaded.expire)
        await exchange.answer(200, [(b"content-length", b"0")], b"")


async def _files_in(body: SharedBuffer) -> tuple[FileToLoad, ...]:
    with body.mapped() as view:
        return await read_loading_in_slices(view)
