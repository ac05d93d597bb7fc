"""A two-layer network for the MNIST digits, as pure functions with checked shapes.

The network: ``init_params``, ``forward``, ``loss``, ``backward``, ``update``, ``predict``,
``accuracy``, with ``relu``, ``tanh`` or ``sigmoid``. Several as one: ``Member``,
``predict_committee``, ``committee_probabilities``, ``join``.

Training: ``init_state``, ``make_step``, ``train``, ``train_epochs``, ``stop_early``. Over parts of
a data set: ``sharded_gradients``. Optimizers: ``sgd``, ``momentum``, ``rmsprop``, ``adam``, and
around them ``decay_weights`` and ``average_params``. Learning rates: ``constant``, ``cosine``,
``one_cycle``, ``warm_up``. Against overfitting: ``distort``, ``Dropout``. Against the writer's
hand: ``deslant``, ``standardize``, ``edges``. Whole recipes, from ``recipes``: ``prepare``,
``members_of``, ``assemble``; many at once: ``sweep``.

Data: ``load_mnist``, ``load_digits``, ``load_idx_dataset``, ``scale``, ``epoch_batches``,
``ordered_batches``, ``hold_out``, ``live_pixels``. Results: ``evaluate``, ``class_scores``,
``calibration``, ``mistakes``, ``save_params``, ``load_params``, ``load_model``. Pictures of your
own: ``frame``, and ``page``, which is drawn on. Random numbers: ``key``, ``split``, ``fold_in``,
``generator``. Your own functions: ``checked``.
"""

from . import idx as idx
from . import recipes as recipes
from .activation_functions import ActivationFunction as ActivationFunction
from .activation_functions import relu as relu
from .activation_functions import sigmoid as sigmoid
from .activation_functions import tanh as tanh
from .adaptive import AdamState as AdamState
from .adaptive import RmspropState as RmspropState
from .adaptive import adam as adam
from .adaptive import rmsprop as rmsprop
from .arrays import GreyImages as GreyImages
from .arrays import Images as Images
from .arrays import Labels as Labels
from .arrays import Pixels as Pixels
from .augment import Distortion as Distortion
from .augment import Positions as Positions
from .augment import distort as distort
from .augment import random_positions as random_positions
from .augment import resample as resample
from .batches import Batch as Batch
from .batches import Dataset as Dataset
from .batches import epoch_batches as epoch_batches
from .batches import hold_out as hold_out
from .batches import live_pixels as live_pixels
from .batches import ordered_batches as ordered_batches
from .batches import scale as scale
from .committees import Member as Member
from .committees import committee_probabilities as committee_probabilities
from .committees import join as join
from .committees import predict_committee as predict_committee
from .contracts import checked as checked
from .dropout import Dropout as Dropout
from .dropout import drop as drop
from .dropout import dropped as dropped
from .effects.datasets import DatasetError as DatasetError
from .effects.datasets import load_digits as load_digits
from .effects.datasets import load_idx_dataset as load_idx_dataset
from .effects.datasets import load_mnist as load_mnist
from .effects.models import Model as Model
from .effects.models import ModelError as ModelError
from .effects.models import load_model as load_model
from .effects.models import load_params as load_params
from .effects.models import save_params as save_params
from .effects.sweeps import Trial as Trial
from .effects.sweeps import sweep as sweep
from .evaluation import Calibration as Calibration
from .evaluation import ClassScores as ClassScores
from .evaluation import EpochRecord as EpochRecord
from .evaluation import Evaluation as Evaluation
from .evaluation import calibration as calibration
from .evaluation import class_scores as class_scores
from .evaluation import evaluate as evaluate
from .evaluation import mistakes as mistakes
from .hints import Map as Map
from .hints import SameFloat as SameFloat
from .idx import IdxError as IdxError
from .images import Picture as Picture
from .images import frame as frame
from .keys import Key as Key
from .keys import fold_in as fold_in
from .keys import generator as generator
from .keys import key as key
from .keys import split as split
from .network import Activations as Activations
from .network import Gradients as Gradients
from .network import Params as Params
from .network import accuracy as accuracy
from .network import backward as backward
from .network import forward as forward
from .network import init_params as init_params
from .network import loss as loss
from .network import predict as predict
from .network import update as update
from .optimizers import AverageState as AverageState
from .optimizers import MomentumState as MomentumState
from .optimizers import Optimizer as Optimizer
from .optimizers import SgdState as SgdState
from .optimizers import average_params as average_params
from .optimizers import decay_weights as decay_weights
from .optimizers import momentum as momentum
from .optimizers import sgd as sgd
from .page import page as page
from .recipes import Recipe as Recipe
from .runs import Run as Run
from .runs import assemble as assemble
from .runs import members_of as members_of
from .runs import prepare as prepare
from .schedules import Schedule as Schedule
from .schedules import constant as constant
from .schedules import cosine as cosine
from .schedules import one_cycle as one_cycle
from .schedules import warm_up as warm_up
from .shards import sharded_gradients as sharded_gradients
from .training import Step as Step
from .training import TrainState as TrainState
from .training import init_state as init_state
from .training import make_step as make_step
from .training import stop_early as stop_early
from .training import train as train
from .training import train_epochs as train_epochs
from .views import View as View
from .views import deslant as deslant
from .views import edges as edges
from .views import standardize as standardize
